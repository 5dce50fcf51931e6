"""Target 'tfrecord': a file of records is read, or it is one UsageError or ValueError; no record is ever wrong."""

import logging
import struct
import tempfile
from pathlib import Path

import google_crc32c
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from fuzz.target import Target, check_message, damaged, silent
from resnet_jax.data.records.tfrecords import open_tfrecords
from resnet_jax.errors import UsageError

logging.getLogger("resnet_jax").addHandler(logging.NullHandler())

_RECORDS = [b"", b"first", bytes(range(256)), b"\xff" * 70]


def inputs() -> SearchStrategy[bytes]:
    """Returns a strategy for damaged files, and for files whose headers have right checksums but odd lengths."""
    lengths = strategies.one_of(strategies.integers(0, 40), strategies.integers(0, 2**64 - 1))
    record = strategies.builds(_framed, strategies.binary(max_size=16), strategies.none() | lengths)
    whole = b"".join(_framed(record, None) for record in _RECORDS)
    return strategies.one_of(damaged([whole]), strategies.lists(record, max_size=5).map(b"".join))


def check(data: bytes) -> None:
    """Opens a file and reads all its records: each is one that was written, with its checksum."""
    with tempfile.TemporaryDirectory() as directory, silent():
        path = Path(directory) / "train-00000-of-00001"
        path.write_bytes(data)
        try:
            files = open_tfrecords([str(path)], cache_dir=None)
            again = open_tfrecords([str(path)], cache_dir=None)  # from the index that was saved
        except UsageError as error:
            check_message(error)
            return
        assert files.count(str(path)) == again.count(str(path))
        for number in range(files.count(str(path))):
            try:
                record = files.read(str(path), number)
            except ValueError as error:
                check_message(error)
            else:
                assert _framed(record, None) in data


def _framed(data: bytes, length: int | None) -> bytes:
    """Returns a record of a TFRecord file; its header states `length`, or, if that is None, the length of the data."""
    header = struct.pack("<Q", len(data) if length is None else length)
    return header + _checksum(header) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | (crc & 0x7FFF) << 17) + 0xA282EAD8) % 2**32)


TARGET = Target(inputs, check)
