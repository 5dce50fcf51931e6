"""Random access to the records of ArrayRecord files (shards)."""

import os
from collections.abc import Sequence

from array_record.python import array_record_module

from resnet_jax.data.records.open_files import OpenFiles
from resnet_jax.data.records.scan import scan
from resnet_jax.data.regular_files import open_regular
from resnet_jax.errors import UsageError

# The array_record library recommends these options for random access: no read-ahead, no threads of the library.
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_BUFFER_SIZE = 32_768  # bytes of read buffer per open shard; the default of the library is 1 MiB


class ArrayRecordFiles:
    """Implements `RecordFiles` for ArrayRecord shards; the library verifies the hash of each record that it reads."""

    def __init__(self, counts: dict[str, int]):
        """Takes a dict from the path of each shard to its number of records."""
        self._counts = counts
        self._readers = OpenFiles(_open, _close)

    def count(self, path: str) -> int:
        """Implements `RecordFiles.count`: returns the number of records in a shard."""
        return self._counts[path]

    def read(self, path: str, number: int) -> bytes:
        """Implements `RecordFiles.read`: returns the data of one record of a shard."""
        with self._readers.opened(path) as reader:
            try:
                return reader.read([number])[0]
            except RuntimeError as error:  # the library raises RuntimeError for all errors
                raise ValueError(str(error)) from None


def open_array_records(paths: Sequence[str]) -> ArrayRecordFiles:
    """Opens ArrayRecord shards; reads the number of records of each shard from its footer.

    Raises:
      UsageError: a footer is missing or damaged, for example because the file is truncated.
    """
    return ArrayRecordFiles(dict(zip(paths, scan(_count, paths, title="files"), strict=True)))


def _count(path: str) -> int:
    try:
        reader = _open(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error}): copy or prepare it again") from None
    try:
        return reader.num_records()
    finally:
        _close(reader)


def _open(path: str) -> array_record_module.ArrayRecordReader:
    os.close(open_regular(path))  # the library would wait at a FIFO
    reader = array_record_module.ArrayRecordReader(path, options=_OPTIONS, file_reader_buffer_size=_BUFFER_SIZE)
    if not reader.ok():  # for a damaged file the constructor raises no error, and num_records() is 0
        raise OSError(f"{path} is missing, truncated, or not an ArrayRecord file")
    return reader


def _close(reader: array_record_module.ArrayRecordReader) -> None:
    reader.close()
