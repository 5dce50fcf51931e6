"""Random access to ArrayRecord shards."""

from collections.abc import Sequence

from array_record.python import array_record_module

from resnet_jax.data.records.open_files import OpenFiles
from resnet_jax.data.records.scan import scan
from resnet_jax.errors import UsageError

# Recommended by the library for random access: no read-ahead, no threads of its own.
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_BUFFER_SIZE = 32_768  # bytes per shard, instead of 1 MiB


class ArrayRecordFiles:
    """Reads records of shards, see `RecordFiles`; the library verifies the hash of each."""

    def __init__(self, counts: dict[str, int]):
        """Takes the number of records in each shard, by path."""
        self._counts = counts
        self._readers = OpenFiles(_open, _close)

    def count(self, path: str) -> int:
        """See `RecordFiles`."""
        return self._counts[path]

    def read(self, path: str, number: int) -> bytes:
        """See `RecordFiles`."""
        with self._readers.opened(path) as reader:
            try:
                return reader.read([number])[0]
            except RuntimeError as error:  # the library raises it for all errors
                raise ValueError(str(error)) from None


def open_array_records(paths: Sequence[str]) -> ArrayRecordFiles:
    """Opens shards; reads the number of records from the footer of each.

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
    reader = array_record_module.ArrayRecordReader(path, options=_OPTIONS, file_reader_buffer_size=_BUFFER_SIZE)
    if not reader.ok():  # the constructor raises nothing; the reader would seem to have no records
        raise OSError(f"{path} is missing, truncated, or not an ArrayRecord file")
    return reader


def _close(reader: array_record_module.ArrayRecordReader) -> None:
    reader.close()
