"""Decodes common PNG files (PNG specification, third edition) without messages on stderr, which libpng would print.

Only the chunks that hold pixels and palette are read; color profiles and text chunks are not. Pillow's decoder of
compressed rows is called directly: opening a small file with `Image.open` takes ten times as long as decoding it.
"""

import struct
import zlib

import cv2
import numpy as np
from PIL import Image

from resnet_jax.data.image_limits import check_size

START = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, bit depth, color type, compression, filter, interlacing
_HEADER_START = 16  # byte offset of the header's data: signature, length and name of the chunk IHDR come before it
_CHUNK = struct.Struct(">I4s")  # length of the data, name
_MAX_CHUNKS = 2**18  # largest number of chunks in a file; encoders write chunks of 8 kB or more
_PALETTE = 3  # the color type of images with a palette

# (color type, bit depth) -> three names of Pillow: the mode of the image, the layout of the stored pixels, and the
# layout of pixels with one byte per value.
_MODES = {
    (0, 1): ("1", "1", "L"),
    **{(0, depth): ("L", f"L;{depth}" if depth < 8 else "L", "L") for depth in (2, 4, 8)},
    (2, 8): ("RGB", "RGB", "RGB"),
    **{(_PALETTE, depth): ("P", f"P;{depth}" if depth < 8 else "P", "P") for depth in (1, 2, 4, 8)},
    (4, 8): ("LA", "LA", "LA"),
    (6, 8): ("RGBA", "RGBA", "RGBA"),
}


def png_size(encoded: bytes) -> tuple[int, int]:
    """Returns the height and width in pixels that a PNG file states. Raises ValueError if it has no valid header."""
    width, height, *_ = _read_header(encoded)
    return height, width


def decode_png(encoded: bytes, max_pixels: int) -> np.ndarray | None:
    """Decodes a PNG file with at most 8 bits per value: [H, W, 3] RGB uint8, without transparency.

    Returns:
      The pixels; None if the file is damaged or of a rarer kind, for which Pillow must be tried.

    Raises:
      TooLargeError: the file states more than `max_pixels` pixels.
      ValueError: the header of the file is damaged.
    """
    width, height, bit_depth, color_type, _, _, interlacing = _read_header(encoded)
    check_size(height, width, max_pixels)
    modes, chunks = _MODES.get((color_type, bit_depth)), _pixel_chunks(encoded)
    if modes is None or chunks is None or not (width and height):
        return None
    palette, data = chunks
    pixels = _inflate(data, modes, (width, height), interlacing)
    if pixels is None:
        return None
    if modes[0] == "RGB":
        return pixels
    if color_type == _PALETTE:
        return _look_up(palette, pixels[:, :, 0])
    if pixels.shape[2] == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return pixels[:, :, :3].copy() if modes[0] == "RGBA" else pixels[:, :, :1].repeat(3, axis=2)


def _read_header(encoded: bytes) -> tuple[int, ...]:
    """Reads the chunk IHDR, see `_HEADER`. Raises ValueError if it is cut short or does not match its checksum."""
    if zlib.crc32(encoded[12:29]).to_bytes(4, "big") != encoded[29:33]:
        raise ValueError("the header of the PNG file is damaged")
    return _HEADER.unpack_from(encoded, _HEADER_START)


def _pixel_chunks(encoded: bytes) -> tuple[bytes, bytes] | None:
    """Returns the palette and the joined data of all chunks IDAT; None if the file does not end in IEND.

    It verifies no checksums: `_read_header` verifies that of the header, and the compressed data contain their own.
    """
    palette, parts, offset, last = b"", [], len(START), len(encoded) - 12
    for _ in range(_MAX_CHUNKS):
        if offset > last:
            break
        length, name = _CHUNK.unpack_from(encoded, offset)
        start = offset + 8
        if name == b"IDAT":
            parts.append(encoded[start : start + length])
        elif name == b"PLTE":
            palette = encoded[start : start + length]
            if zlib.crc32(b"PLTE" + palette).to_bytes(4, "big") != encoded[start + length : start + length + 4]:
                return None
        elif name == b"IEND":
            return palette, b"".join(parts)
        offset = start + length + 4
    return None


def _look_up(palette: bytes, indices: np.ndarray) -> np.ndarray | None:
    """Returns the colors of `indices`; None if an index is beyond the end of the palette."""
    colors = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)
    return colors[indices] if indices.max() < len(colors) else None


def _inflate(data: bytes, modes: tuple[str, str, str], size: tuple[int, int], interlacing: int) -> np.ndarray | None:
    """Decompresses `data` to [H, W, channels] uint8; None if it is damaged or incomplete. For `modes` see `_MODES`."""
    mode, stored, whole = modes
    (width, height), channels = size, len(whole)
    image = Image.core.new(mode, size)
    decoder = Image.core.zip_decoder(mode, stored, interlacing)
    decoder.setimage(image, (0, 0, width, height))
    consumed, error = decoder.decode(data)
    decoder.cleanup()
    if consumed >= 0 or error:  # a negative number means that the end of the compressed data was reached
        return None
    encoder = Image.core.raw_encoder(mode, whole, 0, 1)
    encoder.setimage(image, (0, 0, width, height))
    pixels = encoder.encode(width * height * channels)[2]
    return np.ndarray((height, width, channels), np.uint8, pixels)
