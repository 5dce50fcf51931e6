"""The records of many shards as one sequence with random access."""

import bisect
import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from resnet_jax.data.records.scan import scan

_RANDOM_SAMPLES = 2  # random records in the sample of a shard, which also has its first and last record


class RecordFiles(Protocol):
    """The interface of random access to the records of shards; implementations are thread-safe and picklable."""

    def count(self, path: str) -> int:
        """Returns the number of records in a shard."""
        ...

    def read(self, path: str, number: int) -> bytes:
        """Returns the data of record `number` of a shard, counted from 0.

        Raises:
          OSError: the shard cannot be read.
          ValueError: the record is damaged.
        """
        ...


class ShardRange(NamedTuple):
    """A range of successive records of one shard; a split or slice of a data set consists of several ranges."""

    path: str
    skip: int  # number of records of the shard before the range
    take: int  # number of records in the range


class Records:
    """A sequence of encoded records, the concatenation of ranges of shards."""

    def __init__(self, files: RecordFiles, ranges: Sequence[ShardRange]):
        """Concatenates `ranges`; `files` reads their records."""
        self._files, self._ranges = files, list(ranges)
        self._ends = list(itertools.accumulate(shard_range.take for shard_range in ranges))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> bytes:
        return self._files.read(*self.locate(index))

    def locate(self, index: int) -> tuple[str, int]:
        """Returns the path of the shard that holds a record, and the number of the record in the shard, from 0."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        number = bisect.bisect_right(self._ends, index)
        path, skip, take = self._ranges[number]
        return path, skip + take - (self._ends[number] - index)

    def where(self, index: int) -> str:
        """Returns the location of a record for messages: 'PATH record 7' is the eighth record of a shard."""
        path, number = self.locate(index)
        return f"{path} record {number}"

    def record_id(self, index: int) -> str:
        """Returns the file name of the shard of a record, without its directory, and the number of the record."""
        path, number = self.locate(index)
        return f"{Path(path).name} {number}"

    @property
    def ranges(self) -> list[tuple[str, range]]:
        """For each range, the path of its shard and the numbers of its records in the shard."""
        return [(path, range(skip, skip + take)) for path, skip, take in self._ranges]

    def samples(self) -> list[list[int]]:
        """Returns, for each range, the indices of up to four of its records, chosen by `sample`."""
        starts = [end - shard_range.take for shard_range, end in zip(self._ranges, self._ends, strict=True)]
        return [
            [start + offset for offset in sample(shard_range.path, shard_range.take)]
            for shard_range, start in zip(self._ranges, starts, strict=True)
        ]


def select(paths: Sequence[str], counts: Sequence[int], rows: range) -> list[ShardRange]:
    """Returns the ranges of shards that hold the records `rows`, numbered through all shards in their order.

    Args:
      paths: the shards.
      counts: number of records of each shard.
      rows: numbers of the records to select, within 0..sum(counts) - 1.
    """
    starts = [end - count for end, count in zip(itertools.accumulate(counts), counts, strict=True)]
    ranges = []
    for path, start, count in zip(paths, starts, counts, strict=True):
        skip, stop = max(rows.start - start, 0), min(rows.stop - start, count)
        if skip < stop:
            ranges.append(ShardRange(path, skip, stop - skip))
    return ranges


def sample(path: str, count: int) -> list[int]:
    """Returns the sorted numbers of the first, the last and two random records; the name of the shard is the seed."""
    if not count:
        return []
    rng = random.Random(Path(path).name)
    return sorted({0, count - 1, *(int(rng.random() * count) for _ in range(_RANDOM_SAMPLES))})


def check_samples(records: Records, check: Callable[[int], None]) -> None:
    """Calls `check` with the index of each record in the samples of all shards, in threads; raises the first error."""

    def check_shard(indices: Sequence[int]) -> None:
        for index in indices:
            check(index)

    scan(check_shard, records.samples(), title="labels")
