"""Decode images on the host; a JPEG only down to the last row of its crop."""

import dataclasses
import functools
import io
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_BASELINE, _SCAN = (0xC0, 0xC1), 0xDA  # SOF0 and SOF1; SOS
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # DHT, JPG, DAC: among the numbers of the frame headers, but none
_HEIGHT_OFFSET = 5  # in a frame header: marker, length, precision, height, width, number of components
_MARGIN = 4  # rows; the smoothing of the colours looks at no more below


class Frame(NamedTuple):
    """What the frame header of a JPEG file says (ITU-T T.81, B.2.2)."""

    offset: int  # of the two bytes with the height
    height: int
    width: int


def find_frame(encoded: bytes) -> Frame | None:
    """The frame of a JPEG file that can be decoded in part; None: decode it as a whole.

    Those are the usual ones: sequential, 8 bits, grey or three colours in one scan, and whole to its last marker.
    Others have their lower rows all over the file (progressive), or need Pillow (CMYK).
    """
    if not (encoded.startswith(_SOI) and encoded.endswith(_EOI)):
        return None
    frame, place, components = None, 2, 0
    while place + 9 < len(encoded) and encoded[place] == 0xFF:
        marker, length = encoded[place + 1], int.from_bytes(encoded[place + 2 : place + 4], "big")
        if marker == _SCAN:
            return frame if components == encoded[place + 4] else None
        if marker in _BASELINE:
            precision, components = encoded[place + 4], encoded[place + 9]
            sides = (
                int.from_bytes(encoded[place + at : place + at + 2], "big")
                for at in (_HEIGHT_OFFSET, _HEIGHT_OFFSET + 2)
            )
            frame = Frame(place + _HEIGHT_OFFSET, *sides)
            if precision != 8 or components not in (1, 3) or not (frame.height and frame.width):
                return None
        elif 0xC2 <= marker <= 0xCF and marker not in _NO_FRAMES:
            return None
        place += 2 + length
    return None


def decode_top(encoded: bytes, frame: Frame, rows: int) -> np.ndarray:
    """Decodes the first `rows` of a JPEG file, and a few more: [R, W, 3] RGB uint8, the very pixels of the whole.

    The decoder is given a file that says it is so low. It then meets more data than it expects and says so, which is
    why nothing is made of its warnings. Pillow makes nothing of them either, so that the same files are read.

    Raises:
      ValueError: it cannot be decoded.
    """
    if rows + _MARGIN >= frame.height:
        return simplejpeg.decode_jpeg(encoded, colorspace="RGB", strict=False)
    lower = bytearray(encoded)
    lower[frame.offset : frame.offset + 2] = (rows + _MARGIN).to_bytes(2, "big")
    return simplejpeg.decode_jpeg(lower, colorspace="RGB", strict=False)


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
