"""Target 'images': whatever the bytes, a file is decoded, or it is one ValueError, in little memory and silence."""

import io

import numpy as np
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy
from PIL import Image

from fuzz.target import Target, check_message, damaged, silent
from resnet_jax.data.crops import Box
from resnet_jax.data.decode import image_size, open_image

_MAX_PIXELS = 1_000_000
# Format, mode of Pillow and options of the undamaged files.
_KINDS = [
    *(("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")),
    ("JPEG", "RGB", {"progressive": True}),
    *(("JPEG", mode, {"restart_marker_blocks": 1}) for mode in ("RGB", "L")),
    *(("PNG", mode, {}) for mode in ("RGB", "L", "LA", "RGBA", "P", "1", "I;16")),
    *(("TIFF", "RGB", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
    *(("TIFF", "1", {"compression": name}) for name in ("group3", "group4")),
    *(("TIFF", mode, {}) for mode in ("I;16", "F", "I", "CMYK", "LAB")),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("AVIF", "RGB", {}),
    ("JPEG2000", "RGB", {}),
    ("GIF", "P", {}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    *(("PPM", mode, {}) for mode in ("RGB", "L", "1", "F")),
]


def inputs() -> SearchStrategy[bytes]:
    """Returns a strategy for damaged files of all formats, and for bytes that no encoder made."""
    return strategies.one_of(damaged([_file(*kind) for kind in _KINDS]), strategies.binary(max_size=64))


def check(data: bytes) -> None:
    """Decodes a file as a whole and in part."""
    with silent():
        try:
            image = open_image(data, _MAX_PIXELS)
            pixels = image.decode_rows(image.height)
        except ValueError as error:
            check_message(error)
        else:
            assert pixels.dtype == np.uint8 and pixels.shape == (image.height, image.width, 3), pixels.shape
            assert 0 < image.height * image.width <= _MAX_PIXELS
            top, left = image.height * 2 // 3, image.width * 2 // 3
            box = Box(top, left, image.height - top, image.width - left)
            part, place = image.decode_box(box)
            part = part[place.top : place.top + box.height, place.left : place.left + box.width]
            np.testing.assert_array_equal(part, pixels[top : image.height, left : image.width])
        try:
            image_size(data)
        except ValueError as error:
            check_message(error)


def _file(kind: str, mode: str, options: dict) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    elif mode == "LAB":
        image = Image.frombytes("LAB", image.size, pixels.tobytes())
    else:
        image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


TARGET = Target(inputs, check)
