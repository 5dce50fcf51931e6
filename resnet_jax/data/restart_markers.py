"""Cuts the part of a JPEG file that holds a box of pixels, without decoding it, if the file has restart markers.

Restart markers divide the compressed data of an image into intervals that are decoded independently of each other
(ITU-T T.81, B.2.1 and E.2.4). The header of the file with a changed height and width, followed by the intervals that
cover a box, is therefore a JPEG file too. It decodes to the same pixels, bit for bit. `--mode=prepare` writes a marker
after every MCU (minimum coded unit), the smallest block that can be between two markers: 16 x 16 pixels with 4:2:0
chroma, 8 x 8 without chroma subsampling.

The markers are found by searching the compressed data. A table of their offsets in the file would make files 0.8 %
larger, would have to be checked against the data, and would save about 3 % of the time of an image.
"""

import functools
from typing import NamedTuple

import numpy as np

from resnet_jax.data.crops import Box
from resnet_jax.data.jpeg import Frame, find_frame

_MARKER_START, _FIRST_CODE, _NUM_CODES = 0xFF, 0xD0, 8  # restart markers are FF D0 to FF D7, in cyclic order
_END = 0xD9  # second byte of EOI, the last marker of a file
_CODES = np.resize(np.arange(_FIRST_CODE, _FIRST_CODE + _NUM_CODES, dtype=np.uint8), 8192)
# Pixels of a cut within this distance of its edge may differ from the image: libjpeg's chroma upsampling reads the
# neighboring chroma value, which covers up to 2 pixels in each direction.
_MARGIN = 2
# libjpeg omits the filter of chroma upsampling for images of at most this many columns: two chroma values (jdsample.c).
_UNFILTERED_WIDTH = 4
_BLOCK = 8  # side in pixels of the squares to which the DCT is applied
# Cutting is faster only if the cut has at most this share of the intervals that would be decoded without it: all from
# the top of the image to the last row of the box.
_WORTHWHILE = 0.92
# If a share s of all intervals is needed, their markers are first searched in the first s * _SEARCH_FACTOR of the
# compressed data and _SEARCH_BYTES more. If some are not found there, they are searched in the whole file.
_SEARCH_FACTOR, _SEARCH_BYTES = 1.1, 2048


class Cut(NamedTuple):
    """A part of an image as a JPEG file."""

    encoded: bytearray
    top: int  # row of the image that is the first row of the cut
    left: int  # column of the image that is the first column of the cut


class _Grid(NamedTuple):
    """The grid of the intervals of an image, in which each interval covers a rectangle of the same size."""

    height: int  # height of an interval in pixels
    width: int  # width of an interval in pixels
    rows: int  # number of rows of intervals
    columns: int  # number of intervals in a row


def cut_box(encoded: bytes, frame: Frame, box: Box) -> Cut | None:
    """Cuts the part of a JPEG file that is needed to decode a box.

    Args:
      encoded: content of the file.
      frame: frame header of the file.
      box: a rectangle within the image.

    Returns:
      The part as a JPEG file; None if the file cannot be cut, or if it is faster to decode all rows down to the end of
      the box. If libjpeg warns when it decodes the part, the file is damaged: decoding the whole may give other pixels.
    """
    grid = _find_grid(frame)
    if grid is None:
        return None
    first_row, last_row = _span(box.top, box.height, grid.height, grid.rows)
    first_column, last_column = _span(box.left, box.width, grid.width, grid.columns)
    first_column -= first_column > 0 and frame.width - first_column * grid.width <= _UNFILTERED_WIDTH
    rows, columns = last_row + 1 - first_row, last_column + 1 - first_column
    if rows * columns > _WORTHWHILE * (last_row + 1) * grid.columns:
        return None
    bounds = _find_bounds(encoded, frame.scan, (last_row + 1) * grid.columns, grid.rows * grid.columns)
    if bounds is None:
        return None
    head = bytearray(encoded[: frame.scan])
    top, left = first_row * grid.height, first_column * grid.width
    height = min(frame.height - top, rows * grid.height)
    width = min(frame.width - left, columns * grid.width)
    head[frame.offset : frame.offset + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    starts = bounds[:-1].reshape(-1, grid.columns)[first_row:, first_column]
    ends = bounds[1:].reshape(-1, grid.columns)[first_row:, first_column : last_column + 1]
    return Cut(_join(encoded, head, starts, ends), top, left)


def has_markers(encoded: bytes) -> bool:
    """Returns whether boxes can be cut from a JPEG file: all of its restart markers are there, at useful intervals."""
    frame = find_frame(encoded)
    grid = None if frame is None else _find_grid(frame)
    if frame is None or grid is None:
        return False
    total = grid.rows * grid.columns
    return _find_bounds(encoded, frame.scan, total, total) is not None


def best_interval(encoded: bytes) -> int:
    """Returns the restart interval in MCUs that makes cuts of a JPEG file small without making the file much larger.

    This is one MCU, or, if an MCU is only 8 pixels wide, a few that divide a row of the image evenly.

    Args:
      encoded: content of a file with restart markers.
    """
    frame = find_frame(encoded)
    width = 0 if frame is None else _mcu_size(frame.sampling)[1]
    if frame is None or width != _BLOCK:
        return 1
    mcus_per_row = -(-frame.width // width)
    return next((interval for interval in (2, 3, 4) if mcus_per_row % interval == 0), 1)


def _find_grid(frame: Frame) -> _Grid | None:
    """Returns the grid of the intervals; None if there are no markers or the intervals are not equal rectangles."""
    interval, (mcu_height, mcu_width) = frame.restart_interval, _mcu_size(frame.sampling)
    if not (interval and mcu_width):
        return None
    mcus_per_row = -(-frame.width // mcu_width)
    if mcus_per_row % interval == 0:
        height, width = mcu_height, mcu_width * interval
    elif interval % mcus_per_row == 0:
        height, width = mcu_height * (interval // mcus_per_row), mcu_width * mcus_per_row
    else:
        return None
    return _Grid(height, width, -(-frame.height // height), -(-frame.width // width))


@functools.cache
def _mcu_size(sampling: bytes) -> tuple[int, int]:
    """Returns the height and width of an MCU in pixels from `Frame.sampling`; (0, 0) for rare kinds of subsampling."""
    across, down = divmod(sampling[0], 16) if sampling else (0, 0)
    # With one component, an MCU is one block whatever the factors are; this module is only tested with factors of 1.
    usual = (sampling == b"\x11") if len(sampling) == 1 else {across, down} <= {1, 2, 4}
    if not usual or any(factors != 0x11 for factors in sampling[1:]):
        return 0, 0
    return _BLOCK * down, _BLOCK * across


def _span(start: int, length: int, size: int, count: int) -> tuple[int, int]:
    """Returns the indices, along one axis, of the first and the last interval that a box and its margin touch.

    Args:
      start: first pixel of the box.
      length: pixels of the box.
      size: pixels of an interval.
      count: number of intervals.
    """
    return max(0, start - _MARGIN) // size, min(count - 1, (start + length - 1 + _MARGIN) // size)


def _find_bounds(encoded: bytes, scan: int, needed: int, total: int) -> np.ndarray | None:
    """Finds where the first `needed` of the `total` intervals of a file start and end.

    Returns:
      [needed + 1] offsets in bytes: interval i with the marker after it is encoded[bounds[i] : bounds[i + 1]]. None if
      the markers do not conform to the standard, because libjpeg may then place the pixels elsewhere in the image.
    """
    data, last = np.frombuffer(encoded, np.uint8), len(encoded) - 1
    guess = scan + int((last - scan) * _SEARCH_FACTOR * needed / total) + _SEARCH_BYTES
    for stop in (min(guess, last), last):
        found = (data[scan:stop] == _MARKER_START).nonzero()[0]
        found += scan + 1
        codes = data[found]
        is_marker = codes.nonzero()[0][:needed]  # in compressed data, a 0 after 0xFF means that it is no marker
        if len(is_marker) == needed or stop == last:
            break
    expected = _codes(needed)
    if needed == total:
        expected = np.append(expected[:-1], np.uint8(_END))
    if codes[is_marker].tobytes() != expected.tobytes():
        return None
    bounds = np.empty(needed + 1, np.int64)
    bounds[0] = scan
    np.add(found[is_marker], 1, out=bounds[1:])
    return bounds


def _join(encoded: bytes, head: bytearray, starts: np.ndarray, ends: np.ndarray) -> bytearray:
    """Joins a header and intervals; renumbers the restart markers, and replaces the last one by EOI.

    Args:
      encoded: content of the file with the intervals.
      head: the header.
      starts: [R] offsets in `encoded` of the first interval of each row of intervals.
      ends: [R, C] offsets in `encoded` of the end of each interval, after its marker.
    """
    stops, view = ends[:, -1], memoryview(encoded)
    rows = [view[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
    joined = bytearray().join([head, *rows])
    moved = np.cumsum(stops - starts) + (len(head) - 1) - stops  # ends + moved: last bytes of the markers
    np.frombuffer(joined, np.uint8)[(ends + moved[:, None]).ravel()] = _codes(ends.size)
    joined[-1] = _END
    return joined


def _codes(count: int) -> np.ndarray:
    """Returns the second bytes of the first `count` restart markers of a file."""
    return _CODES[:count] if count <= len(_CODES) else np.resize(_CODES, count)
