"""JPEG files decoded from the top down to where the crop ends: the rows below need not be."""

from typing import NamedTuple

import numpy as np
import simplejpeg

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
