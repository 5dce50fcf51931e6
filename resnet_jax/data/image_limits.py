"""The limit on the size of an image, which is checked before any memory is allocated for its pixels."""

# Pillow refuses images of more than 2 * Image.MAX_IMAGE_PIXELS, which take 0.5 GB with 3 bytes a pixel (PIL/Image.py).
MAX_PIXELS = 178_956_970


class TooLargeError(ValueError):
    """An image that must not be decoded, because this would take too much memory or time."""


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Raises TooLargeError if an image has more than `max_pixels` pixels."""
    if height * width > max_pixels:
        raise TooLargeError(
            f"it has {height:,} x {width:,} pixels, more than config.data.max_image_pixels={max_pixels}: make it "
            "smaller or raise this limit"
        )
