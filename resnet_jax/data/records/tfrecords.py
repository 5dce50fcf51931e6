"""Random access to TFRecord shards by an index of record offsets, which is built once and cached in a file.

TFRecord files store no such index, so the first use reads the headers of all records.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np

from resnet_jax.data.records.open_files import OpenFiles
from resnet_jax.data.records.records import sample
from resnet_jax.data.records.scan import scan
from resnet_jax.data.records.tfrecord_format import find_records, open_at_random, opened, read_record
from resnet_jax.errors import UsageError
from resnet_jax.files import replacing

logger = logging.getLogger(__name__)

_VERSION = 1  # version of the format of the cached index


class _Index(NamedTuple):
    """The cached index of F shards; the fields are the arrays of an npz file."""

    names: np.ndarray  # [F] str, file names without directories
    states: np.ndarray  # [F, 2] int64, size in bytes and modification time in ns
    counts: np.ndarray  # [F] int64, number of records
    boundaries: np.ndarray  # [sum(counts) + F] int64, for each shard the byte offsets of its records, then its size


class TFRecordFiles:
    """Implements `RecordFiles` for TFRecord shards; verifies the checksum of each record that it reads."""

    def __init__(self, paths: Sequence[str], counts: np.ndarray, boundaries: np.ndarray):
        """Takes the paths of the shards, and their numbers of records and record boundaries as in `_Index`."""
        firsts = np.cumsum(counts + 1) - (counts + 1)
        self._entries = dict(zip(paths, zip(firsts.tolist(), counts.tolist(), strict=True), strict=True))
        self._boundaries = boundaries
        self._descriptors = OpenFiles(open_at_random, os.close)

    def count(self, path: str) -> int:
        """Implements `RecordFiles.count`: returns the number of records in a shard."""
        return self._entries[path][1]

    def read(self, path: str, number: int) -> bytes:
        """Implements `RecordFiles.read`: returns the data of one record of a shard."""
        entry = self._entries[path][0] + number
        start, stop = self._boundaries[entry : entry + 2].tolist()
        with self._descriptors.opened(path) as descriptor:
            return read_record(descriptor, start, stop)


def open_tfrecords(paths: Sequence[str], *, cache_dir: Path | None) -> TFRecordFiles:
    """Opens shards by the index cached beside them or in `cache_dir`.

    Builds the index if it is missing or the shards have changed. Building verifies the checksums of all record lengths,
    and of the data of up to four records per shard.

    Args:
      paths: the distinct paths of the shards.
      cache_dir: directory for the index if the directory of the shards is read-only; None: there is no such directory.

    Raises:
      UsageError: a shard cannot be read, is truncated or damaged.
    """
    names = np.array([Path(path).name for path in paths])
    states = np.array(scan(_state, paths, title="sizes"), np.int64).reshape(-1, 2)
    directories = [Path(paths[0]).parent, *([] if cache_dir is None else [cache_dir])]
    files = [directory / _cache_name(names) for directory in directories]
    loaded = (index for file in files if (index := _load(file, names, states)) is not None)
    index = next(loaded, None)
    if index is None:
        index = _build(paths, names, states)
        saved = next((file for file in files if _save(index, file)), None)
        failure = f"the index cannot be saved in {' or '.join(map(str, directories))}"
        logger.info("%s", f"the index is saved as {saved}" if saved else failure)
    return TFRecordFiles(paths, index.counts, index.boundaries)


def _build(paths: Sequence[str], names: np.ndarray, states: np.ndarray) -> _Index:
    start = time.monotonic()
    logger.info("indexing the records of %d files, for example %s", len(paths), paths[0])
    boundaries = scan(_find_and_verify, paths, title="records")
    counts = np.array([len(one) - 1 for one in boundaries], np.int64)
    logger.info("indexed %d records in %.1f s", counts.sum(), time.monotonic() - start)
    return _Index(names, states, counts, np.concatenate(boundaries))


def _find_and_verify(path: str) -> np.ndarray:
    with _opened(path) as descriptor:
        boundaries = find_records(path, descriptor)
        _verify(path, descriptor, boundaries)
        return boundaries


def _verify(path: str, descriptor: int, boundaries: np.ndarray) -> None:
    for number in sample(path, len(boundaries) - 1):
        try:
            read_record(descriptor, *boundaries[number : number + 2].tolist())
        except ValueError as error:
            raise UsageError(f"{path} record {number} is damaged ({error}): copy or prepare it again") from None


def _state(path: str) -> tuple[int, int]:
    with _opened(path) as descriptor:  # fails without read permission, unlike os.stat
        status = os.fstat(descriptor)
        return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """Yields a file descriptor for random access.

    Raises:
      UsageError: the file cannot be opened, or an operation on it in the context fails.
    """
    try:
        with opened(path) as descriptor:
            yield descriptor
    except OSError as error:
        if isinstance(error, FileNotFoundError) and Path(path).is_symlink():
            target = Path(path).readlink()
            raise UsageError(
                f"{path} is a link to {target}, which does not exist: copy the file or correct the link"
            ) from None
        cure = "check that it exists, its permissions and the disk"
        raise UsageError(f"{path} cannot be read ({error.strerror}): {cure}") from None


def _cache_name(names: np.ndarray) -> str:
    """Returns the name of the index file, with a hash of all shard names, so that each set of shards has its own."""
    prefix = re.sub(r"-\d+-of-\d+.*", "", str(names[0]))
    return f".{prefix}.{google_crc32c.value(' '.join(names).encode()):08x}.record_index.npz"


def _load(file: Path, names: np.ndarray, states: np.ndarray) -> _Index | None:
    """Loads a cached index; None if it is missing or damaged, or if the shards have changed since it was built."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if arrays["version"] != _VERSION:
                return None
            index = _Index(*(arrays[field] for field in _Index._fields))
    except Exception:  # numpy raises many types for a damaged archive
        return None
    return index if np.array_equal(index.names, names) and np.array_equal(index.states, states) else None


def _save(index: _Index, file: Path) -> bool:
    """Writes the index to a file; returns whether this succeeded. Several processes may write it at once."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, unique=True) as temporary, temporary.open("xb") as stream:
            np.savez(stream, version=np.array(_VERSION), **index._asdict())
    except OSError:
        return False
    return True
