"""Files: locks between processes, atomic writes, JSON."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
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


@contextlib.contextmanager
def replacing(path: Path, *, unique: bool = False) -> Iterator[Path]:
    """Yields the name of a temporary file beside `path`, which replaces `path` when the block ends without an error.

    Readers, and a process killed meanwhile, leave the old or the new file under `path`, never half of one. After an
    error the temporary file is removed; after a kill it stays, and the next write overwrites it.

    Args:
      path: the file to replace; it need not exist, its directory must.
      unique: give each writer a name of its own, for files that several processes may write at once.
    """
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part" if unique else f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def write_atomically(path: Path, content: str | bytes, *, sync: bool = False, unique: bool = False) -> None:
    """Writes a file so that readers find the old or the new content, never half of it.

    Args:
      path: the file, see `replacing`.
      content: text is encoded as UTF-8.
      sync: flush the content and the name to the disk (fsync) before returning, so that they survive a power cut.
      unique: see `replacing`.
    """
    with replacing(path, unique=unique) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        if sync:
            fsync(part)
    if sync:
        fsync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON values as indented text, by `write_atomically`."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path, *, cure: str) -> Any:
    """Reads a JSON file.

    Args:
      path: the file.
      cure: what the user can do about a missing or damaged file, for the message.

    Raises:
      UsageError: the file cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UsageError(f"{path} cannot be read ({reason}): {cure}") from None


def fsync(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync a directory
            raise
    finally:
        os.close(descriptor)
