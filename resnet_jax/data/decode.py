"""Decodes image files on the host; of a baseline JPEG file, only the rows down to the last row of the crop.

`open_image` reads the header of a baseline JPEG file and decodes its rows when they are needed; if the file has restart
markers, only the part under the crop (`restart_markers.py`). `jpeg.py` and `png.py` decode most files, the module
`other_formats.py` everything else with Pillow. All give the pixels of Pillow, bit for bit, except for gray images of
more than 8 bits, which Pillow turns white: of these, the upper 8 bits are kept. With `fast_dct`, JPEG files have the
pixels of TensorFlow instead, except for those that Pillow decodes. All decoding errors are raised as ValueError.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from resnet_jax.data.crops import Box
from resnet_jax.data.image_limits import MAX_PIXELS, TooLargeError, check_size
from resnet_jax.data.jpeg import START as JPEG
from resnet_jax.data.jpeg import Frame, decode_complete, decode_jpeg, decode_top, find_frame
from resnet_jax.data.other_formats import decode_other, stated_size
from resnet_jax.data.png import START as PNG
from resnet_jax.data.png import decode_png, png_size
from resnet_jax.data.restart_markers import cut_box


@dataclasses.dataclass(frozen=True)
class LazyImage:
    """An image of which only the part that is needed is decoded.

    Attributes:
      height: height of the whole image in pixels.
      width: width of the whole image in pixels.
      decode_rows: `decode_rows(n)` returns the top n rows or more: [R, width, 3] RGB uint8. Raises ValueError if
        the file cannot be decoded.
      decode_box: `decode_box(box)` returns the pixels of a rectangle that contains the box, [R, C, 3] RGB uint8, and
        the box in the coordinates of this rectangle. Raises ValueError if the file cannot be decoded.
    """

    height: int
    width: int
    decode_rows: Callable[[int], np.ndarray]
    decode_box: Callable[[Box], tuple[np.ndarray, Box]]


def open_image(image: bytes | np.ndarray, max_pixels: int = MAX_PIXELS, *, fast_dct: bool = False) -> LazyImage:
    """Opens an image for decoding on demand.

    Args:
      image: the content of an image file, or pixels [H, W, 3] uint8.
      max_pixels: largest allowed number of pixels.
      fast_dct: see `jpeg.decode_jpeg`.

    Raises:
      ValueError: the file cannot be decoded, or states more than `max_pixels` pixels.
    """
    frame = find_frame(image) if isinstance(image, bytes) else None
    if isinstance(image, bytes) and frame is not None:
        check_size(frame.height, frame.width, max_pixels)
        decode_rows = functools.partial(_decode_top_or_all, image, frame, max_pixels, fast_dct=fast_dct)
        decode_box = functools.partial(_decode_box, image, frame, decode_rows, fast_dct=fast_dct)
        return LazyImage(frame.height, frame.width, decode_rows, decode_box)
    pixels = decode(image, max_pixels, fast_dct=fast_dct) if isinstance(image, bytes) else image
    return LazyImage(pixels.shape[0], pixels.shape[1], lambda _num_rows: pixels, lambda box: (pixels, box))


def image_size(image: bytes | np.ndarray) -> tuple[int, int]:
    """Returns the height and width of an image in pixels. Of a file, it reads only the header.

    Args:
      image: the content of an image file, or pixels [H, W, 3] uint8.

    Raises:
      ValueError: the file is not in a known format, or states a height or width of 0.
    """
    if not isinstance(image, bytes):
        return image.shape[0], image.shape[1]
    try:
        height, width = png_size(image) if image.startswith(PNG) else _jpeg_or_other_size(image)
        if not (height and width):
            raise ValueError(f"it states {height} x {width} pixels")
    except Exception as error:
        raise _unreadable(error) from None
    return height, width


def decode(encoded: bytes, max_pixels: int = MAX_PIXELS, *, fast_dct: bool = False) -> np.ndarray:
    """Decodes an image file to [H, W, 3] RGB uint8; repeats the channel of grayscale images; ignores EXIF orientation.

    Args:
      encoded: the content of the file.
      max_pixels: largest allowed number of pixels.
      fast_dct: see `jpeg.decode_jpeg`.

    Raises:
      ValueError: the file is not in a known format, damaged or truncated, or states more than `max_pixels` pixels.
    """
    try:
        pixels = _decode_common(encoded, max_pixels, fast_dct=fast_dct)
        return decode_other(encoded, max_pixels) if pixels is None else pixels
    except Exception as error:  # decoders raise errors of many types, including MemoryError
        raise _unreadable(error) from None


def _decode_common(encoded: bytes, max_pixels: int, *, fast_dct: bool) -> np.ndarray | None:
    """Decodes a JPEG or PNG file; returns None for other formats and for files that `decode_other` must try."""
    try:
        if encoded.startswith(PNG):
            return decode_png(encoded, max_pixels)
        if encoded.startswith(JPEG):
            return decode_jpeg(encoded, max_pixels, fast_dct=fast_dct)
    except TooLargeError:
        raise
    except Exception:  # Pillow reads some files that these decoders reject
        return None
    return None


def _jpeg_or_other_size(encoded: bytes) -> tuple[int, int]:
    frame = find_frame(encoded)
    return stated_size(encoded) if frame is None else (frame.height, frame.width)


def _decode_top_or_all(encoded: bytes, frame: Frame, max_pixels: int, num_rows: int, *, fast_dct: bool) -> np.ndarray:
    try:
        return decode_top(encoded, frame, num_rows, fast_dct=fast_dct)
    except Exception:
        return decode(encoded, max_pixels, fast_dct=fast_dct)  # Pillow may be able to decode the file


def _decode_box(
    encoded: bytes, frame: Frame, decode_rows: Callable[[int], np.ndarray], box: Box, *, fast_dct: bool
) -> tuple[np.ndarray, Box]:
    cut = cut_box(encoded, frame, box) if frame.restart_interval else None
    if cut is not None:
        with contextlib.suppress(Exception):  # if the cut cannot be decoded, the file is damaged: decode the whole
            pixels = decode_complete(cut.encoded, fast_dct=fast_dct)
            return pixels, box._replace(top=box.top - cut.top, left=box.left - cut.left)
    return decode_rows(box.top + box.height), box


def _unreadable(error: Exception) -> ValueError:
    """Returns the error to raise for an error of a decoder; its message is one line."""
    message = " ".join(str(error).split())
    if message and isinstance(error, ValueError | OSError | SyntaxError):  # Pillow's SyntaxError: broken PNG
        return ValueError(message)
    return ValueError(f"{type(error).__name__}: {message}" if message else type(error).__name__)
