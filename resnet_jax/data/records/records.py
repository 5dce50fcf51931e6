"""A data set in many record files: which record of which file an index means."""

import bisect
import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

_SAMPLED = 2  # records of a sample, besides the first and the last


class RecordFiles(Protocol):
    """Random access to the records of some files, safe in threads and picklable."""

    def count(self, path: str) -> int:
        """How many records a file has."""
        ...

    def read(self, path: str, position: int) -> bytes:
        """The data of a record; raises OSError or ValueError if it is damaged."""
        ...


class Part(NamedTuple):
    """Some records of a file, one after the other."""

    path: str
    skip: int  # records in front of them
    take: int  # how many


class Records:
    """The records of some parts of files, as one sequence."""

    def __init__(self, files: RecordFiles, parts: Sequence[Part]):
        self._files, self._parts = files, list(parts)
        self._ends = list(itertools.accumulate(part.take for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> bytes:
        return self._files.read(*self.locate(index))

    def locate(self, index: int) -> tuple[str, int]:
        """The file that holds a record, and the number of the record in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        part = bisect.bisect_right(self._ends, index)
        path, skip, take = self._parts[part]
        return path, skip + take - (self._ends[part] - index)

    def where(self, index: int) -> str:
        """A record for messages: 'PATH record 7', counted from 0."""
        path, position = self.locate(index)
        return f"{path} record {position}"

    def samples(self) -> list[list[int]]:
        """Of each part, some records: those that `sample` chooses, as indices."""
        starts = [end - part.take for part, end in zip(self._parts, self._ends, strict=True)]
        return [
            [start + position for position in sample(part.path, part.take)]
            for part, start in zip(self._parts, starts, strict=True)
        ]


def sample(path: str, count: int) -> list[int]:
    """The first, the last and a few more records of a file of `count`: enough to find a file that is not right."""
    if not count:
        return []
    draws = random.Random(Path(path).name)
    return sorted({0, count - 1, *(int(draws.random() * count) for _ in range(_SAMPLED))})
