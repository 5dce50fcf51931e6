"""The format of TFRecord files (TensorFlow's `record_writer.h`), without TensorFlow.

A record consists of the length of its data (uint64), the checksum of these 8 bytes (uint32), the data, and the checksum
of the data (uint32), all little-endian. Checksums are masked CRC-32C.
"""

import contextlib
import os
import struct
from collections.abc import Iterator

import google_crc32c
import numpy as np

from resnet_jax.data.regular_files import MAX_BYTES, open_regular
from resnet_jax.errors import UsageError

_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Opens a file for random access and yields its descriptor; closes the file at the end of the context."""
    descriptor = open_at_random(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_at_random(path: str) -> int:
    """Opens a file without read-ahead by the operating system, for random access; returns its descriptor."""
    descriptor = open_regular(path)
    if hasattr(os, "posix_fadvise"):  # Linux
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    return descriptor


def find_records(path: str, descriptor: int) -> np.ndarray:
    """Finds all records of a TFRecord file by reading only their headers.

    Returns:
      [N + 1] int64, the offsets in bytes of the N records, then the size of the file.

    Raises:
      UsageError: the file ends inside a record, or a length does not match its checksum.
    """
    size, boundaries = os.fstat(descriptor).st_size, [0]
    while (start := boundaries[-1]) < size:
        header = os.pread(descriptor, _HEADER.size, start)
        record = f"record {len(boundaries) - 1}"
        if len(header) < _HEADER.size:
            raise UsageError(f"{path} is truncated: it ends within the header of {record}. Copy or prepare it again")
        length, checksum = _HEADER.unpack(header)
        if _masked_crc(header[:8]) != checksum:
            what = "is damaged" if start else "is damaged, compressed, or not a TFRecord file"
            raise UsageError(f"{path} {what} (length of {record}, byte {start}): copy or prepare it again")
        boundaries.append(start + _HEADER.size + length + _FOOTER.size)
        if boundaries[-1] > size:
            missing = f"{boundaries[-1] - size:,} bytes are missing"
            raise UsageError(f"{path} is truncated: it ends within {record} ({missing}). Copy or prepare it again")
    return np.array(boundaries, np.int64)


def read_record(descriptor: int, start: int, stop: int) -> bytes:
    """Returns the data of the record that occupies bytes start..stop-1 of a file.

    Raises:
      ValueError: the record is damaged or larger than any image, or the file has changed.
    """
    if stop - start > MAX_BYTES:
        raise ValueError(f"it has {stop - start:,} bytes, more than an image of the allowed size")
    record = os.pread(descriptor, stop - start, start)
    data = record[_HEADER.size : -_FOOTER.size]
    if len(record) < stop - start or _HEADER.unpack_from(record)[0] != len(data):
        raise ValueError("the file has changed since its records were found")
    if _masked_crc(data) != _FOOTER.unpack_from(record, len(record) - _FOOTER.size)[0]:
        raise ValueError("its data do not match their checksum")
    return data


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
