"""Decodes image files on the host; of a baseline JPEG file, only the rows down to the last row of the crop.

`open_image` reads the header of a baseline JPEG file and decodes its rows when they are needed. JPEG is decoded by
libjpeg-turbo (simplejpeg), 8-bit PNG by OpenCV, everything else by Pillow. All give the pixels of Pillow, bit for bit.
"""

import dataclasses
import functools
import io
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # decoding errors are raised, not logged

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"  # first and last bytes of a JPEG file: markers SOI and EOI
_PNG, _PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
_PNG_BIT_DEPTH = 24  # byte offset of the bit depth in a PNG file
_PRINT_COLOR_SPACES = ("CMYK", "YCCK")  # simplejpeg and Pillow convert these to slightly different RGB

# Markers of JPEG segments (ITU-T T.81, table B.1 and section B.2.2).
_BASELINE_FRAMES = (0xC0, 0xC1)  # SOF0, SOF1: frame headers of sequential images with Huffman coding
_SCAN = 0xDA  # SOS: start of a scan
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # DHT, JPG and DAC: not frame headers, but numbered among them
_HEIGHT_OFFSET = 5  # bytes from the marker of a frame header to the image height, which is followed by the width
_MARGIN = 4  # rows; chroma upsampling reads at most this far below the last requested row


@dataclasses.dataclass(frozen=True)
class LazyImage:
    """An image whose rows are decoded on demand, from the top down to the last row needed.

    Attributes:
      height: height of the whole image in pixels.
      width: width of the whole image in pixels.
      decode_rows: `decode_rows(n)` returns the top n rows or more: [R, width, 3] RGB uint8. Raises ValueError if
        the file cannot be decoded.
    """

    height: int
    width: int
    decode_rows: Callable[[int], np.ndarray]


def open_image(image: bytes | np.ndarray) -> LazyImage:
    """Opens an image for decoding on demand; `image` is the content of an image file, or pixels [H, W, 3] uint8.

    Raises:
      ValueError: the file cannot be decoded.
    """
    frame = find_frame(image) if isinstance(image, bytes) else None
    if isinstance(image, bytes) and frame is not None:
        return LazyImage(frame.height, frame.width, functools.partial(_decode_top_or_all, image, frame))
    pixels = decode(image) if isinstance(image, bytes) else image
    return LazyImage(pixels.shape[0], pixels.shape[1], lambda _num_rows: pixels)


def image_size(image: bytes | np.ndarray) -> tuple[int, int]:
    """Returns the height and width of an image in pixels, for a file from its header; `image` is as in `open_image`.

    Raises:
      ValueError: the file is not in a known format.
    """
    if not isinstance(image, bytes):
        return image.shape[0], image.shape[1]
    frame = find_frame(image)
    if frame is not None:
        return frame.height, frame.width
    try:
        with Image.open(io.BytesIO(image)) as opened:  # reads the header only
            return opened.height, opened.width
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None


def decode(encoded: bytes) -> np.ndarray:
    """Decodes an image file to [H, W, 3] RGB uint8; repeats the channel of grayscale images; ignores EXIF orientation.

    Raises:
      ValueError: the file is not in a known format, damaged or truncated.
    """
    try:
        if encoded.startswith(_JPEG) and simplejpeg.decode_jpeg_header(encoded)[2] not in _PRINT_COLOR_SPACES:
            return simplejpeg.decode_jpeg(encoded, colorspace="RGB")
        # OpenCV decodes PNG files, but not 16-bit ones, where it differs from Pillow, nor truncated ones: libpng warns.
        if encoded.startswith(_PNG) and encoded[_PNG_BIT_DEPTH] <= 8 and encoded.endswith(_PNG_END):
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
            if image is not None:
                return image
    except (ValueError, IndexError, cv2.error):
        pass  # try Pillow, which reads some files that simplejpeg and OpenCV reject
    return _decode_with_pillow(encoded)


def _decode_with_pillow(encoded: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError("not an image file, or the beginning of the file is missing") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: broken PNG chunks
        raise ValueError(str(error)) from None


class Frame(NamedTuple):
    """The frame header of a JPEG file (ITU-T T.81, B.2.2)."""

    offset: int  # bytes from the start of the file to the height, a big-endian uint16
    height: int  # pixels
    width: int  # pixels


def find_frame(encoded: bytes) -> Frame | None:
    """Finds the frame header of a JPEG file if its upper rows can be decoded without the rest of the file.

    This holds for most JPEG files: complete, sequential, 8 bits per value, one or three color components, one scan.
    Progressive files spread every row over the whole file; CMYK files need Pillow.

    Returns:
      The frame header; None if the whole file must be decoded.
    """
    if not (encoded.startswith(_JPEG) and encoded.endswith(_JPEG_END)):
        return None
    frame, offset, components = None, 2, 0
    while offset + 9 < len(encoded) and encoded[offset] == 0xFF:
        marker, length = encoded[offset + 1], _uint16(encoded, offset + 2)
        if marker == _SCAN:
            return frame if components == encoded[offset + 4] else None
        if marker in _BASELINE_FRAMES:
            precision, components = encoded[offset + 4], encoded[offset + 9]
            height_offset = offset + _HEIGHT_OFFSET
            frame = Frame(height_offset, _uint16(encoded, height_offset), _uint16(encoded, height_offset + 2))
            if precision != 8 or components not in (1, 3) or not (frame.height and frame.width):
                return None
        elif 0xC2 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            return None
        offset += 2 + length
    return None


def decode_top(encoded: bytes, frame: Frame, num_rows: int) -> np.ndarray:
    """Decodes the top `num_rows` rows of a JPEG file, or a few more: [R, W, 3] RGB uint8.

    Sets the height in a copy of the frame header to num_rows + 4, so that libjpeg decodes no more rows. libjpeg then
    warns about the remaining data: strict=False ignores this. The rows are equal to those of the whole decoded file.

    Raises:
      ValueError: the file cannot be decoded.
    """
    if num_rows + _MARGIN >= frame.height:
        return simplejpeg.decode_jpeg(encoded, colorspace="RGB", strict=False)
    patched = bytearray(encoded)
    patched[frame.offset : frame.offset + 2] = (num_rows + _MARGIN).to_bytes(2, "big")
    return simplejpeg.decode_jpeg(patched, colorspace="RGB", strict=False)


def _decode_top_or_all(encoded: bytes, frame: Frame, num_rows: int) -> np.ndarray:
    try:
        return decode_top(encoded, frame, num_rows)
    except ValueError:
        return decode(encoded)  # Pillow may be able to decode the file


def _uint16(encoded: bytes, offset: int) -> int:
    return int.from_bytes(encoded[offset : offset + 2], "big")
