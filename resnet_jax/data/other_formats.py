"""Decodes image files of a fixed list of formats with Pillow.

Pillow reads more formats, some by starting another program (EPS by Ghostscript): these are refused.
"""

import contextlib
import io
import struct
from typing import NamedTuple

import numpy as np

# Importing these modules registers all `FORMATS` with Pillow.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)

from resnet_jax.data.decoder_messages import counting
from resnet_jax.data.image_limits import check_size, one_large_image

_ORIENTATION = 0x0112  # number of the EXIF tag Orientation
# A limit on decoding time: Pillow reads headers and blocks in Python, some byte by byte, and takes a microsecond or
# more for each read. Files of usual encoders stay far below it: they have blocks of 8 kB or more.
_MOST_READS = 2**18
_MOST_COMMENTS = 10_000  # comments in a plain PPM file; for each, Pillow copies a block of 16 kB
_MOST_VALUES = 2**20  # values in the tags of a TIFF file, such as the offsets of its strips
_TIFF_STARTS = {b"II*\0": "<", b"MM\0*": ">"}  # first bytes -> byte order
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")


def stated_size(encoded: bytes) -> tuple[int, int]:
    """Returns the height and width in pixels that an image file states; decodes no pixels.

    Raises:
      ValueError: the file is not in one of `FORMATS`, or its header is damaged.
    """
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":  # Pillow allocates pixels when it opens a WebP file
        return _webp_size(encoded)
    with counting(), _open(encoded) as image:
        return image.height, image.width


class StoredKind(NamedTuple):
    """How a file stores its pixels; the decoded pixels do not show this."""

    mode: str  # Pillow's image mode, such as 'RGB', 'CMYK', 'L' or 'I;16'
    bits: int  # bits per value of a color channel: 8 or fewer, or 16
    orientation: int  # EXIF orientation, 1 to 8; 1: not rotated; 0: the file states an invalid value


def stored_kind(encoded: bytes) -> StoredKind:
    """Returns how a file stores its pixels, without decoding them. Raises ValueError as `stated_size` does."""
    with counting(), _open(encoded) as image:
        bits = 16 if image.mode.startswith("I") else 8
        if image.format == "PNG":
            bits = encoded[24]  # the bit depth in the chunk IHDR
        elif isinstance(image, TiffImagePlugin.TiffImageFile):
            bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))[0]
        try:
            orientation = int(image.getexif().get(_ORIENTATION, 1))
        except Exception:  # Pillow raises errors of many types for damaged EXIF data
            orientation = 0
        return StoredKind(image.mode, bits, orientation)


def decode_other(encoded: bytes, max_pixels: int) -> np.ndarray:
    """Decodes an image file: [H, W, 3] RGB uint8. Of gray values with 9 to 16 bits, it keeps the upper 8 bits.

    Raises:
      TooLargeError: the file states more than `max_pixels` pixels.
      ValueError: the file is not in one of `FORMATS`, or has pixels of an unknown range. For a damaged file, Pillow
        raises errors of many types.
    """
    height, width = stated_size(encoded)
    check_size(height, width, max_pixels)
    with one_large_image(height * width), counting(), _open(encoded) as image:
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
            return _upper_bits(image)
        if image.mode in ("I", "F"):
            kind = "integers of 32 bits or with a sign" if image.mode == "I" else "floating-point numbers"
            raise ValueError(f"its pixels are {kind}, whose range is unknown: store them as 8-bit or 16-bit numbers")
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


class _Reads(io.BytesIO):
    """The content of a file, which may be read in at most `_MOST_READS` pieces."""

    _count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns the next bytes. Raises ValueError if the file has been read in too many pieces."""
        self._count += 1
        if self._count > _MOST_READS:
            raise ValueError(f"the file consists of too many small pieces, more than {_MOST_READS:,}")
        return super().read(size)


def _open(encoded: bytes) -> ImageFile.ImageFile:
    """Opens a file as `Image.open` does, but without Pillow's size limit, which is a global setting."""
    _check_time(encoded)
    for name in FORMATS:
        create, accepts = Image.OPEN[name]
        if accepts is not None and accepts(encoded[:16]) is not True:  # a str: no support in this Pillow
            continue
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):  # the file has another format
            return create(_Reads(encoded), "")
    raise ValueError("not an image file, or the beginning of the file is missing")


def _check_time(encoded: bytes) -> None:
    """Raises ValueError for a header that would take Pillow minutes to parse although it takes few reads."""
    if encoded[:2] in (b"P1", b"P2", b"P3") and encoded.count(b"#") > _MOST_COMMENTS:
        raise ValueError(f"the file has more than {_MOST_COMMENTS:,} comments")
    order = _TIFF_STARTS.get(encoded[:4])
    if order is not None and _count_values(encoded, order) > _MOST_VALUES:
        raise ValueError(f"the TIFF tags have more than {_MOST_VALUES:,} values")


def _count_values(encoded: bytes, order: str) -> int:
    """Returns the number of values in the tags of a TIFF file, not counting bytes and strings (TIFF 6.0, section 2)."""
    with contextlib.suppress(struct.error):
        (start,) = struct.unpack_from(f"{order}I", encoded, 4)
        (number,) = struct.unpack_from(f"{order}H", encoded, start)
        tags = np.frombuffer(
            encoded[start + 2 : start + 2 + 12 * number], f"{order}u2, {order}u2, {order}u4, {order}u4"
        )
        return int(tags["f2"][~np.isin(tags["f1"], (1, 2, 6, 7))].sum(dtype=np.uint64))
    return 0


def _upper_bits(image: Image.Image) -> np.ndarray:
    """Returns the upper 8 bits of gray values that have 9 to 16 bits: [H, W, 3] uint8."""
    bits, inverted = 16, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2[TiffImagePlugin.BITSPERSAMPLE][0]
        inverted = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0  # the value 0 is white
    values = np.asarray(image).astype(np.int32) >> (bits - 8)
    gray = np.clip(255 - values if inverted else values, 0, 255).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """Reads height and width from the first chunk of a WebP file (RFC 9649, sections 2.5 to 2.7)."""
    kind, data = encoded[12:16], encoded[20:30]
    if len(data) == 10 and kind == b"VP8X":
        return 1 + int.from_bytes(data[7:10], "little"), 1 + int.from_bytes(data[4:7], "little")
    if len(data) == 10 and kind == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if len(data) == 10 and kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[6:])
        return height & 0x3FFF, width & 0x3FFF
    raise ValueError("the header of the WebP file is damaged")
