"""Decodes whole JPEG files, or only the top rows of baseline files, with libjpeg-turbo (simplejpeg)."""

from typing import NamedTuple

import numpy as np
import simplejpeg

from resnet_jax.data.image_limits import TooLargeError, check_size

START, _END = b"\xff\xd8", b"\xff\xd9"  # first and last bytes of a JPEG file: markers SOI and EOI
_PRINT_COLOR_SPACES = ("CMYK", "YCCK")  # simplejpeg and Pillow convert these to slightly different RGB

# Markers of JPEG segments (ITU-T T.81, table B.1 and section B.2.2).
_BASELINE_FRAMES = (0xC0, 0xC1)  # SOF0, SOF1: frame headers of sequential images with Huffman coding
_SCAN = 0xDA  # SOS: start of a scan
_RESTART_INTERVAL = 0xDD  # DRI: defines the restart interval
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # DHT, JPG and DAC: no frame headers, although their codes are between SOF codes
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA), 0xFF)  # TEM, RST0 to RST7, SOI, EOI, and 0xFF, which is a fill byte
_HEIGHT_OFFSET = 5  # bytes from the marker of a frame header to the image height, which is followed by the width
_SAMPLING_OFFSET = 6  # bytes from the height to the first component's sampling factors; the others follow every 3 bytes
_MARGIN = 4  # rows; chroma upsampling reads at most this far below the last requested row
_UNWRITTEN = (1, 254, 3)  # a color that is rare in photos: marks a last pixel that the decoder has not written
_MAX_SEGMENTS = 1000  # segments before the compressed data: encoders write about 10, and one per 64 kB of metadata
_MAX_SCANS = 1000  # encoders write up to about 30; each scan of ten bytes costs a pass over the whole image


class Frame(NamedTuple):
    """The frame header of a JPEG file (ITU-T T.81, B.2.2), and what `restart_markers.py` needs to cut the file."""

    offset: int  # bytes from the start of the file to the height, a big-endian uint16
    height: int  # pixels
    width: int  # pixels
    restart_interval: int = 0  # number of MCUs (minimum coded units) between two restart markers; 0: no markers
    sampling: bytes = b""  # for each color component a byte: 16 * horizontal + vertical sampling factor
    scan: int = 0  # bytes from the start of the file to the compressed data


def find_frame(encoded: bytes) -> Frame | None:
    """Finds the frame header of a JPEG file if its upper rows can be decoded without the rest of the file.

    This holds for most JPEG files: complete, sequential, 8 bits per value, one or three color components, one scan.
    Progressive files spread every row over the whole file; CMYK files need Pillow.

    Returns:
      The frame header; None if the whole file must be decoded.
    """
    if not (encoded.startswith(START) and encoded.endswith(_END)):
        return None
    frame, offset, components, interval = None, 2, 0, 0
    for _ in range(_MAX_SEGMENTS):
        if offset + 9 >= len(encoded) or encoded[offset] != 0xFF:
            break
        marker, length = encoded[offset + 1], _uint16(encoded, offset + 2)
        if marker == _SCAN:
            if frame is None or components != encoded[offset + 4]:
                return None
            return frame if interval == 0 else _with_markers(encoded, frame, interval, scan=offset + 2 + length)
        if marker == _RESTART_INTERVAL:
            interval = _uint16(encoded, offset + 4)
        if marker in _BASELINE_FRAMES and frame is None:
            precision, components = encoded[offset + 4], encoded[offset + 9]
            height_offset = offset + _HEIGHT_OFFSET
            frame = Frame(height_offset, _uint16(encoded, height_offset), _uint16(encoded, height_offset + 2))
            if precision != 8 or components not in (1, 3) or not (frame.height and frame.width):
                return None
        elif (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES) or marker in _WITHOUT_LENGTH:
            return None  # another kind of frame, a second frame, or bytes that libjpeg reads differently
        offset += 2 + length
    return None


def decode_top(encoded: bytes, frame: Frame, num_rows: int, *, fast_dct: bool = False) -> np.ndarray:
    """Decodes the top `num_rows` rows of a JPEG file, or a few more: [R, W, 3] RGB uint8.

    Sets the height in a copy of the frame header to num_rows + 4, so that libjpeg decodes no more rows. libjpeg then
    warns about the remaining data: strict=False ignores this. The rows are equal to those of the whole decoded file.
    `fast_dct` is as in `decode_jpeg`.

    Raises:
      ValueError: the file cannot be decoded.
    """
    if num_rows + _MARGIN >= frame.height:
        return _decode_despite_warnings(encoded, frame.height, frame.width, fast_dct=fast_dct)
    patched = bytearray(encoded)
    patched[frame.offset : frame.offset + 2] = (num_rows + _MARGIN).to_bytes(2, "big")
    return _decode_despite_warnings(patched, num_rows + _MARGIN, frame.width, fast_dct=fast_dct)


def decode_complete(encoded: bytes | bytearray, *, fast_dct: bool = False) -> np.ndarray:
    """Decodes a JPEG file in color or gray: [H, W, 3] RGB uint8; `fast_dct` is as in `decode_jpeg`.

    Raises:
      ValueError: the file cannot be decoded, or libjpeg warns that data are missing, left over or damaged.
    """
    return simplejpeg.decode_jpeg(encoded, colorspace="RGB", strict=True, fastdct=fast_dct)


def decode_jpeg(encoded: bytes, max_pixels: int, *, fast_dct: bool = False) -> np.ndarray | None:
    """Decodes a JPEG file: [H, W, 3] RGB uint8; None if its colors are CMYK or YCCK, which Pillow must convert.

    Args:
      encoded: content of the file.
      max_pixels: largest allowed number of pixels.
      fast_dct: use libjpeg's fast inverse DCT, as TensorFlow does by default, instead of the accurate one.

    Raises:
      TooLargeError: the header states more than `max_pixels` pixels, or the file has more than 1,000 scans.
      ValueError: the file cannot be decoded.
    """
    scans = encoded.count(bytes([0xFF, _SCAN]))  # compressed data cannot contain this marker
    if scans > _MAX_SCANS:
        raise TooLargeError(f"it is a JPEG file of {scans:,} scans, more than {_MAX_SCANS:,}")
    height, width, color_space, _ = simplejpeg.decode_jpeg_header(encoded)
    check_size(height, width, max_pixels)
    if color_space in _PRINT_COLOR_SPACES:
        return None
    return simplejpeg.decode_jpeg(encoded, colorspace="RGB", fastdct=fast_dct)


def _decode_despite_warnings(encoded: bytes | bytearray, height: int, width: int, *, fast_dct: bool) -> np.ndarray:
    """Decodes a JPEG file of a known size, ignoring warnings. Raises ValueError if the last row cannot be decoded."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[-1, -1] = _UNWRITTEN
    simplejpeg.decode_jpeg(encoded, colorspace="RGB", strict=False, fastdct=fast_dct, buffer=pixels)
    # After a warning, libjpeg-turbo reports even an error as a warning, and does not write the remaining rows.
    if tuple(pixels[-1, -1].tolist()) == _UNWRITTEN:
        raise ValueError("the last row cannot be decoded")
    return pixels


def _with_markers(encoded: bytes, frame: Frame, interval: int, *, scan: int) -> Frame:
    start, components = frame.offset + _SAMPLING_OFFSET, encoded[frame.offset + _SAMPLING_OFFSET - 2]
    return frame._replace(restart_interval=interval, sampling=encoded[start : start + 3 * components : 3], scan=scan)


def _uint16(encoded: bytes, offset: int) -> int:
    return int.from_bytes(encoded[offset : offset + 2], "big")
