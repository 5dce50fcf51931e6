"""One process at a time."""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from resnet_jax.errors import UsageError

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(path: Path, *, what: str, cure: str, patience: float = 0.0) -> Iterator[None]:
    """Makes the file `path` and what is above it, and keeps other processes from entering meanwhile.

    The lock goes with the process, however that ends; the file stays.

    Args:
      path: of the lock file.
      what: is locked, for messages.
      cure: what to do if it cannot be, for messages.
      patience: seconds to wait for a process that is inside, or for a network to notice that it is dead.

    Raises:
      UsageError: the place cannot be written, or another process is inside.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise UsageError(f"{what} cannot be written ({error.strerror}): {cure}") from None
    with file:
        deadline = time.monotonic() + patience
        while not _take(file):
            if time.monotonic() >= deadline:
                raise UsageError(f"another process is at work in {what}: wait for it, or {cure}")
            if patience:
                logger.info("waiting      for another process in %s, at most %.0f s", what, patience)
            time.sleep(min(5.0, max(0.0, deadline - time.monotonic())))
        yield


@contextlib.contextmanager
def own_directory(path: Path, *, what: str, cure: str) -> Iterator[None]:
    """Makes the directory `path`, and keeps other processes from making it meanwhile.

    It is empty: what a process left there that was killed goes. After an error the directory goes, too; else it is to
    be moved away in here.

    Args:
      path: of the directory.
      what: is made in it, for messages.
      cure: what to do if it cannot be, for messages.

    Raises:
      UsageError: another process is inside.
      OSError: the place cannot be written.
    """
    path.mkdir(parents=True, exist_ok=True)
    opened = os.open(path, os.O_RDONLY)  # the lock is on the directory itself: no other file is left behind
    try:
        if not (_take(opened) and _is_at(path, opened)):
            raise UsageError(f"another process is at work in {what}: wait for it, or {cure}")
        try:
            for left in path.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
    finally:
        os.close(opened)


def _is_at(path: Path, opened: int) -> bool:
    """Whether what is open still has this name: whoever had the lock may have moved it away."""
    try:
        return os.path.samestat(path.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False


def _take(file: IO[str] | int) -> bool:
    """Whether the lock is now had."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: as good as it gets
    return True


def check_writable(path: Path, *, key: str) -> None:
    """Raises UsageError, before hours go into what is to be written; `key` is the setting that names the file."""
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a directory")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(
            f"{key}={str(path)!r} cannot be written ({error.strerror or error}): "
            "name a file in a directory that is there and may be written to"
        ) from None


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the file so that a reader finds all of it or nothing."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(record, indent=2) + "\n")
    part.replace(path)
