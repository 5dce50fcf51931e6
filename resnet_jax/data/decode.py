"""Decoding on the host."""

import dataclasses
import functools
import io
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from resnet_jax.data.jpeg import Frame, decode_top, find_frame

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it cannot decode is an error here

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"
_DEPTH = 24  # where a PNG says how many bits a value has; Pillow and OpenCV differ over 16
_PNG_END = b"IEND\xaeB`\x82"  # without it, libpng complains on stderr
_PRINTING = ("CMYK", "YCCK")  # colour spaces that simplejpeg and Pillow turn into not quite the same RGB


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image whose pixels are decoded when they are needed, and no more of them than that."""

    height: int
    width: int
    top: Callable[[int], np.ndarray]  # the first rows, at least so many: [R, width, 3] RGB uint8; raises as `decode`


def open_picture(image: bytes | np.ndarray) -> Picture:
    """Opens an encoded file, or pixels [H, W, 3] uint8. Raises ValueError as `decode`."""
    frame = find_frame(image) if isinstance(image, bytes) else None
    if isinstance(image, bytes) and frame is not None:
        return Picture(frame.height, frame.width, functools.partial(_top, image, frame))
    pixels = decode(image) if isinstance(image, bytes) else image
    return Picture(pixels.shape[0], pixels.shape[1], lambda _rows: pixels)


def decode(encoded: bytes) -> np.ndarray:
    """Decodes an image file to [H, W, 3] RGB uint8; grey images are repeated, EXIF rotation is ignored.

    Raises:
      ValueError: no format of JPEG, PNG or one that Pillow knows, or the data end too early.
    """
    try:
        if encoded.startswith(_JPEG) and simplejpeg.decode_jpeg_header(encoded)[2] not in _PRINTING:
            return simplejpeg.decode_jpeg(encoded, colorspace="RGB")
        if encoded.startswith(_PNG) and encoded[_DEPTH] <= 8 and encoded.endswith(_PNG_END):
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
            if image is not None:
                return image
    except (ValueError, IndexError, cv2.error):
        pass  # Pillow decides
    return _decode_with_pillow(encoded)


def _top(encoded: bytes, frame: Frame, rows: int) -> np.ndarray:
    try:
        return decode_top(encoded, frame, rows)
    except ValueError:
        return decode(encoded)  # another decoder may do


def _decode_with_pillow(encoded: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError("no image, or the beginning of one is missing") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: broken PNG chunks
        raise ValueError(str(error)) from None
