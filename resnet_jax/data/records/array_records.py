"""Random access to ArrayRecord files."""

from collections.abc import Sequence

from array_record.python import array_record_module

from resnet_jax.data.records.open_files import OpenFiles
from resnet_jax.data.records.scan import scan
from resnet_jax.errors import UsageError

# What the library's documentation says of random access: nothing is read ahead, and no threads but the caller's.
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_BUFFER_SIZE = 32_768  # bytes a file; its default is 1 MiB


class ArrayRecordFiles:
    """Reads the records of some files; the library verifies each by its hash."""

    def __init__(self, counts: dict[str, int]):
        """Takes the number of records of each file by its path."""
        self._counts = counts
        self._readers = OpenFiles(_open, _close)

    def count(self, path: str) -> int:
        """See `RecordFiles`."""
        return self._counts[path]

    def read(self, path: str, position: int) -> bytes:
        """See `RecordFiles`."""
        with self._readers.opened(path) as reader:
            try:
                return reader.read([position])[0]
            except RuntimeError as error:  # whatever is wrong
                raise ValueError(str(error)) from None


def open_array_records(paths: Sequence[str]) -> ArrayRecordFiles:
    """Opens files, after a look at the end of each, where its number of records stands.

    Raises:
      UsageError: a file is truncated or damaged, as far as its end tells.
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
    if not reader.ok():  # it raises nothing, and would have no records
        raise OSError(f"{path} is missing, truncated, or no ArrayRecord file")
    return reader


def _close(reader: array_record_module.ArrayRecordReader) -> None:
    reader.close()
