"""Keeps the index of a set of files in a file beside them, so that it is built again only when the files change.

An index is a dict of arrays, for example the offsets of the records of all files. It is saved as an npz file together
with the names, sizes and modification times of the files.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import google_crc32c
import numpy as np

from resnet_jax.data.records.scan import scan
from resnet_jax.data.records.tfrecord_format import opened
from resnet_jax.errors import UsageError
from resnet_jax.files import replacing

logger = logging.getLogger(__name__)

Index = dict[str, np.ndarray]


def cached_index(
    paths: Sequence[str], build: Callable[[], Index], *, cache_dir: Path | None, version: int, kind: str
) -> Index:
    """Loads the index that is cached beside files or in `cache_dir`; builds and saves it if the files have changed.

    Args:
      paths: the distinct paths of the files.
      build: makes the index; its keys must not be 'names', 'states' or 'version'.
      cache_dir: directory for the index if the directory of the files is read-only; None: the index is then not saved.
      version: version of the format; an index of another version is built again.
      kind: last part of the name of the index file, for example 'record_index'.

    Raises:
      UsageError: a file cannot be read, or `build` raises it.
    """
    names = np.array([Path(path).name for path in paths])
    states = np.array(scan(_state, paths, title="sizes"), np.int64).reshape(-1, 2)
    fixed = {"version": np.array(version), "names": names, "states": states}
    directories = [Path(paths[0]).parent, *([] if cache_dir is None else [cache_dir])]
    files = [directory / _file_name(names, kind) for directory in directories]
    loaded = (index for file in files if (index := _load(file, fixed)) is not None)
    index = next(loaded, None)
    if index is None:
        index = build()
        saved = next((file for file in files if _save(index | fixed, file)), None)
        failure = f"the index cannot be saved in {' or '.join(map(str, directories))}"
        logger.info("%s", f"the index is saved as {saved}" if saved else failure)
    return index


@contextlib.contextmanager
def opened_shard(path: str) -> Iterator[int]:
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


def _state(path: str) -> tuple[int, int]:
    """Returns the size of a file in bytes and its modification time in ns."""
    with opened_shard(path) as descriptor:  # fails without read permission, unlike os.stat
        status = os.fstat(descriptor)
        return status.st_size, status.st_mtime_ns


def _file_name(names: np.ndarray, kind: str) -> str:
    """Returns the name of the index file, with a hash of all file names, so that each set of files has its own."""
    prefix = re.sub(r"-\d+(-of-\d+.*|\.\w+)?$", "", str(names[0]))
    return f".{prefix}.{google_crc32c.value(' '.join(names).encode()):08x}.{kind}.npz"


def _load(file: Path, fixed: Index) -> Index | None:
    """Loads a cached index; None if it is missing or damaged, or if the files have changed since it was built."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if not all(np.array_equal(arrays[key], value) for key, value in fixed.items()):
                return None
            return {key: arrays[key] for key in arrays.files if key not in fixed}
    except Exception:  # numpy raises many types for a damaged archive
        return None


def _save(arrays: Index, file: Path) -> bool:
    """Writes the index to a file; returns whether this succeeded. Several processes may write it at once."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, unique=True) as temporary, temporary.open("xb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # mypy takes the arrays for `allow_pickle`
    except OSError:
        return False
    return True
