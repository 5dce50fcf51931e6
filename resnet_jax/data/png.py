"""Decodes common PNG files (PNG specification, third edition) without messages on stderr, which libpng would print.

Only the chunks that hold pixels and palette are read; color profiles and texts are not. Pillow's decoder of compressed
rows is called directly: opening a small file with `Image.open` takes ten times as long as decoding it.
"""

import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

START = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, bit depth, color type, compression, filter, interlacing
_HEADER_START = 16  # byte offset of the header's data: signature, length and name of the chunk IHDR come before it
_HEADER_END = _HEADER_START + _HEADER.size

# Color type and bit depth -> mode of Pillow, and its names for the stored pixels and for pixels of whole bytes.
_MODES = {
    (0, 1): ("1", "1", "L"),
    **{(0, depth): ("L", f"L;{depth}" if depth < 8 else "L", "L") for depth in (2, 4, 8)},
    (2, 8): ("RGB", "RGB", "RGB"),
    **{(3, depth): ("P", f"P;{depth}" if depth < 8 else "P", "P") for depth in (1, 2, 4, 8)},
    (4, 8): ("LA", "LA", "LA"),
    (6, 8): ("RGBA", "RGBA", "RGBA"),
}


class _Header(NamedTuple):
    width: int  # pixels
    height: int  # pixels
    bit_depth: int
    color_type: int
    compression: int
    filtering: int
    interlacing: int


def png_size(encoded: bytes) -> tuple[int, int]:
    """Returns the height and width in pixels that a PNG file states. Raises ValueError if it has no valid header."""
    header = _read_header(encoded)
    return header.height, header.width


def decode_png(encoded: bytes) -> np.ndarray | None:
    """Decodes a PNG file with at most 8 bits per value: [H, W, 3] RGB uint8, without transparency.

    Returns:
      The pixels; None if the file is damaged or of a rarer kind, for which Pillow must be tried.
    """
    header = _read_header(encoded)
    kind = header.color_type, header.bit_depth
    chunks = _pixel_chunks(encoded)
    if chunks is None or kind not in _MODES or not (header.width and header.height):
        return None
    palette, data = chunks
    pixels = _inflate(data, _MODES[kind], header)
    if pixels is None:
        return None
    mode, channels = _MODES[kind][0], pixels.shape[2]
    if mode == "P":
        return palette[pixels[:, :, 0]] if pixels.max() < len(palette) else None
    if channels < 3:
        return cv2.cvtColor(np.ascontiguousarray(pixels[:, :, :1]), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(pixels[:, :, :3])


def _read_header(encoded: bytes) -> _Header:
    """Reads the chunk IHDR. Raises ValueError if it is cut short or does not match its checksum."""
    stored = encoded[_HEADER_END : _HEADER_END + 4]
    if zlib.crc32(encoded[_HEADER_START - 4 : _HEADER_END]) != int.from_bytes(stored, "big") or len(stored) < 4:
        raise ValueError("the header of the PNG file is damaged")
    return _Header(*_HEADER.unpack_from(encoded, _HEADER_START))


def _pixel_chunks(encoded: bytes) -> tuple[np.ndarray, bytes] | None:
    """Returns the palette [N, 3] uint8 and the joined data of all chunks IDAT; None if the file does not end in IEND.

    Checksums of other chunks than the header are not compared: the compressed data have one of their own.
    """
    palette, data, offset = b"", [], len(START)
    while offset + 12 <= len(encoded):
        length, name = int.from_bytes(encoded[offset : offset + 4], "big"), encoded[offset + 4 : offset + 8]
        content = slice(offset + 8, offset + 8 + length)
        if name == b"IDAT":
            data.append(encoded[content])
        elif name == b"PLTE":
            palette = encoded[content]
            if zlib.crc32(b"PLTE" + palette) != int.from_bytes(encoded[content.stop : content.stop + 4], "big"):
                return None
        elif name == b"IEND":
            return np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3), b"".join(data)
        offset = content.stop + 4
    return None


def _inflate(data: bytes, modes: tuple[str, str, str], header: _Header) -> np.ndarray | None:
    """Decompresses rows of pixels of the `_MODES`: [H, W, channels] uint8; None if they are damaged or end early."""
    mode, stored, whole = modes
    image = Image.core.new(mode, (header.width, header.height))
    decoder = Image.core.zip_decoder(mode, stored, header.interlacing)
    decoder.setimage(image, (0, 0, header.width, header.height))
    consumed, error = decoder.decode(data)
    decoder.cleanup()
    if consumed >= 0 or error:  # a negative number means that the end of the compressed data was reached
        return None
    num_bytes = header.width * header.height * len(whole)
    encoder = Image.core.raw_encoder(mode, whole, 0, 1)
    encoder.setimage(image, (0, 0, header.width, header.height))
    pixels = encoder.encode(num_bytes)[2]
    return np.frombuffer(pixels, np.uint8, num_bytes).reshape(header.height, header.width, len(whole))
