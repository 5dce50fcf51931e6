"""The limit on the size of an image, which is checked before any memory is allocated for its pixels."""

import contextlib
import threading
from collections.abc import Iterator

# Pillow refuses images of more than 2 * Image.MAX_IMAGE_PIXELS, which take 0.5 GB with 3 bytes a pixel (PIL/Image.py).
MAX_PIXELS = 178_956_970
_LARGE = 2**24  # pixels; to decode WebP, Pillow needs up to 18 bytes per pixel, here 300 MB
_decoding = threading.Lock()


class TooLargeError(ValueError):
    """An image that must not be decoded, because this would take too much memory or time."""


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Raises TooLargeError if an image has more than `max_pixels` pixels."""
    if height * width > max_pixels:
        raise TooLargeError(
            f"it has {height:,} x {width:,} pixels, more than config.data.max_image_pixels={max_pixels}: make it "
            "smaller or raise this limit"
        )


@contextlib.contextmanager
def one_large_image(num_pixels: int) -> Iterator[None]:
    """Lets only one thread at a time decode an image of more than 2**24 pixels, so that many do not fill the memory."""
    with _decoding if num_pixels > _LARGE else contextlib.nullcontext():
        yield
