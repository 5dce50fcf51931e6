"""Random access to TFRecord files, by an index of where their records begin that is made once and kept."""

import contextlib
import logging
import os
import re
import time
import uuid
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

logger = logging.getLogger(__name__)

_VERSION = 1  # of the kept index


class _Index(NamedTuple):
    """What is kept in the file system, as arrays."""

    names: np.ndarray  # [F] of the files, without directories
    states: np.ndarray  # [F, 2] int64: size in bytes and time of the last change in ns
    counts: np.ndarray  # [F] int64: records
    boundaries: np.ndarray  # [sum(counts) + F] int64: of each file, where its records begin, and its size


class TFRecordFiles:
    """Reads the records of some files; each read is verified by its checksum."""

    def __init__(self, paths: Sequence[str], counts: np.ndarray, boundaries: np.ndarray):
        """Takes, of each file, its number of records, and where they begin and the last one ends."""
        firsts = np.cumsum(counts + 1) - (counts + 1)
        self._entries = dict(zip(paths, zip(firsts.tolist(), counts.tolist(), strict=True), strict=True))
        self._boundaries = boundaries
        self._descriptors = OpenFiles(open_at_random, os.close)

    def count(self, path: str) -> int:
        """See `RecordFiles`."""
        return self._entries[path][1]

    def read(self, path: str, position: int) -> bytes:
        """See `RecordFiles`."""
        entry = self._entries[path][0] + position
        start, stop = self._boundaries[entry : entry + 2].tolist()
        with self._descriptors.opened(path) as descriptor:
            return read_record(descriptor, start, stop)


def open_tfrecords(paths: Sequence[str], *, cache_dir: Path | None) -> TFRecordFiles:
    """Opens files by the index that is kept beside them or in `cache_dir`; makes it if it is not there or outdated.

    Args:
      paths: of the files, each once.
      cache_dir: where the index is kept if it cannot be beside the files; None: it is made each time.

    Raises:
      UsageError: a file cannot be read, or it is truncated or damaged, as far as the lengths of all records and the
        data of some tell.
    """
    names = np.array([Path(path).name for path in paths])
    states = np.array(scan(_state, paths, title="sizes"), np.int64).reshape(-1, 2)
    places = [Path(paths[0]).parent, *([] if cache_dir is None else [cache_dir])]
    files = [place / _file_name(names) for place in places]
    found = (index for file in files if (index := _load(file, names, states)) is not None)
    index = next(found, None)
    if index is None:
        index = _make(paths, names, states)
        kept = next((file for file in files if _keep(index, file)), None)
        logger.info("%s", f"the index is kept as {kept}" if kept else "the index cannot be kept: no place to write")
    return TFRecordFiles(paths, index.counts, index.boundaries)


def _make(paths: Sequence[str], names: np.ndarray, states: np.ndarray) -> _Index:
    start = time.monotonic()
    logger.info("looking for the records in %d files, %s for one", len(paths), paths[0])
    boundaries = scan(_find_and_verify, paths, title="records")
    counts = np.array([len(of_file) - 1 for of_file in boundaries], np.int64)
    logger.info("%d records found in %.1f s", counts.sum(), time.monotonic() - start)
    return _Index(names, states, counts, np.concatenate(boundaries))


def _find_and_verify(path: str) -> np.ndarray:
    with _opened(path) as descriptor:
        boundaries = find_records(path, descriptor)
        _verify(path, descriptor, boundaries)
        return boundaries


def _verify(path: str, descriptor: int, boundaries: np.ndarray) -> None:
    for position in sample(path, len(boundaries) - 1):
        try:
            read_record(descriptor, *boundaries[position : position + 2].tolist())
        except ValueError as error:
            raise UsageError(f"{path} record {position} is damaged ({error}): copy or prepare it again") from None


def _state(path: str) -> tuple[int, int]:
    with _opened(path) as descriptor:  # a file that may not be read has a state, too
        status = os.fstat(descriptor)
        return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """A file descriptor. Raises UsageError if the file cannot be opened, or an operation on it fails."""
    try:
        with opened(path) as descriptor:
            yield descriptor
    except OSError as error:
        if isinstance(error, FileNotFoundError) and Path(path).is_symlink():
            target = Path(path).readlink()
            raise UsageError(
                f"{path} is a link to {target}, which is not there: copy the file or mend the link"
            ) from None
        cure = "is it there, may you read it, is the disk all right?"
        raise UsageError(f"{path} cannot be read ({error.strerror}): {cure}") from None


def _file_name(names: np.ndarray) -> str:
    """Other files have another index: the slices of a split may not drive out each other's."""
    prefix = re.sub(r"-\d+-of-\d+.*", "", str(names[0]))
    return f".{prefix}.{google_crc32c.value(' '.join(names).encode()):08x}.record_index.npz"


def _load(file: Path, names: np.ndarray, states: np.ndarray) -> _Index | None:
    """The index in `file`; None if there is none, or a damaged one, or one of other files than are there now."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if arrays["version"] != _VERSION:
                return None
            index = _Index(*(arrays[field] for field in _Index._fields))
    except Exception:  # a damaged archive raises whatever it likes
        return None
    return index if np.array_equal(index.names, names) and np.array_equal(index.states, states) else None


def _keep(index: _Index, file: Path) -> bool:
    """Writes the index, whole or not at all, whoever else does; returns whether that was possible."""
    new = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with new.open("xb") as stream:
            np.savez(stream, version=np.array(_VERSION), **index._asdict())
        new.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        return False
    return True
