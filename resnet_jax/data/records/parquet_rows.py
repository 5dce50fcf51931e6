"""Random access to the rows of Parquet files: reads a row group when one of its rows is needed, and caches it.

Parquet files do not allow reading single rows: to read a row, its whole row group is read, which has 100 rows in files
of Hugging Face. The memory for row groups is bounded, whatever the number of threads and the size of the files.
"""

import collections
import concurrent.futures
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_CACHE_BYTES = 256 << 20  # bytes of row groups that are kept in memory; the last one read is kept, however large it is
_READING_BYTES = 512 << 20  # most bytes of memory for row groups that are being read
_LONGEST_REASON = 200  # characters to which an error message of Arrow, which has several lines, is cut
_COPIES = 3  # copies of a row group in memory while it is read: compressed, as a dictionary, as rows


class ParquetRows:
    """Implements `RecordFiles` for one binary column of Parquet files: a record is the value of a row."""

    def __init__(self, column: str, group_rows: Mapping[str, np.ndarray], largest_group: int):
        """Takes the sizes of row groups, which `data/sources/parquet.py` has read from the files; reads nothing.

        Args:
          column: dotted name of the column.
          group_rows: for each path the number of rows of each row group: [G] int64.
          largest_group: size of the largest row group in bytes, not compressed.
        """
        self._column, self._largest_group = column, largest_group
        self._ends = {path: np.cumsum(rows) for path, rows in group_rows.items()}
        self._groups = _RowGroups(column, largest_group)

    def __reduce__(self) -> tuple:
        rows = {path: np.diff(ends, prepend=0) for path, ends in self._ends.items()}
        return ParquetRows, (self._column, rows, self._largest_group)

    def count(self, path: str) -> int:
        """Implements `RecordFiles.count`: returns the number of rows of a file."""
        return int(self._ends[path][-1]) if len(self._ends[path]) else 0

    def read(self, path: str, number: int) -> bytes:
        """Implements `RecordFiles.read`: returns the value of a row."""
        ends = self._ends[path]
        group = int(np.searchsorted(ends, number, side="right"))
        values, row = self._groups.get(path, group), number - (int(ends[group - 1]) if group else 0)
        if row >= len(values):
            raise ValueError(f"row group {group} is damaged: it has fewer rows than the file states")
        value = values[row].as_py()
        if value is None:
            raise ValueError(
                "the row has no image bytes, only a path: store the images in the file (embed_external_files)"
            )
        return value


class _RowGroups:
    """Reads one column of any row group; keeps the most recently used ones in memory. Thread-safe."""

    def __init__(self, column: str, largest_group: int):
        self._column = column
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[tuple[str, int], Any] = collections.OrderedDict()
        self._reading: dict[tuple[str, int], concurrent.futures.Future] = {}
        self._metadata: dict[str, Any] = {}
        self._permits = threading.Semaphore(max(1, _READING_BYTES // max(1, _COPIES * largest_group)))

    def get(self, path: str, group: int) -> Any:
        """Returns the column of a row group, an array of Arrow. If several threads need it, one reads it for all.

        Raises:
          OSError: the file cannot be read now.
          ValueError: the file is damaged.
        """
        key = path, group
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            future = self._reading.get(key)
            if future is None:
                own = self._reading[key] = concurrent.futures.Future()
        if future is not None:
            return future.result()
        try:
            own.set_result(self._read(path, group))
        except BaseException as error:
            own.set_exception(error)
        with self._lock:
            del self._reading[key]
            if own.exception() is None:
                self._keep(key, own.result())
        return own.result()

    def _keep(self, key: tuple[str, int], values: Any) -> None:
        self._kept[key] = values
        total = sum(one.nbytes for one in self._kept.values())
        while total > _CACHE_BYTES and len(self._kept) > 1:
            total -= self._kept.popitem(last=False)[1].nbytes

    def _read(self, path: str, group: int) -> Any:
        with self._permits:
            try:
                # Each read opens its own `ParquetFile`, because threads must not share one.
                with pq.ParquetFile(path, metadata=self._metadata.get(path)) as file:
                    self._metadata[path] = file.metadata
                    column = file.read_row_group(group, columns=[self._column], use_threads=False).column(0)
            except (pa.ArrowException, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # an error of the disk: for damaged data, Arrow raises an OSError without errno
                reason = " ".join(str(error).split())[:_LONGEST_REASON]
                raise ValueError(f"row group {group} is damaged: {reason}") from None
        values = column.combine_chunks()
        for name in self._column.split(".")[1:]:
            values = values.field(name)
        return values
