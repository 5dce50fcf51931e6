"""Files: locks between processes, atomic writes, JSON, deletion."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from resnet_jax.errors import UsageError
from resnet_jax.local_paths import kind_of, system_place
from resnet_jax.nested import has_shape
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)

_LARGEST_JSON = 2**30  # bytes; more than any JSON file of this program has


@contextlib.contextmanager
def locked(path: Path, *, what: str, cure: str, patience: float = 0.0) -> Iterator[None]:
    """Holds an exclusive lock (flock) on the file `path`, which is created with its parent directories.

    The operating system releases the lock when the process ends, however it ends. The file is not removed here;
    the block may remove it.

    Args:
      path: the lock file.
      what: name of what the lock protects, for error messages, for example 'work directory /runs/a'.
      cure: what the user can do if the lock is not free, for error messages.
      patience: seconds to wait for the lock. A file server may hold the lock of a dead host for a minute or two.

    Raises:
      UsageError: the file cannot be written, or another process still holds the lock.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            raise UsageError(f"{what} cannot be written ({_reason(error, path.parent)}): {cure}") from None
        with file:
            while not _try_lock(file):
                if time.monotonic() >= deadline:
                    raise UsageError(f"another process is at work in {what}: wait for it, or {cure}")
                if patience:
                    logger.info(labelled("waiting", "for another process in %s, at most %.0f s"), what, patience)
                time.sleep(min(5.0, max(0.0, deadline - time.monotonic())))
            if not _is_at(path, file.fileno()):  # the process that held the lock has removed the file
                continue
            yield
            return


def _reason(error: OSError, directory: Path) -> str:
    """Returns why `directory` cannot be written: the text of `error`, or that it or a parent is not a directory."""
    found = next((place for place in (directory, *directory.parents) if os.path.lexists(place)), directory)
    return str(error.strerror) if found.is_dir() else f"{found} is {kind_of(found)}, not a directory"


@contextlib.contextmanager
def new_directories_removed_on_error(path: Path) -> Iterator[None]:
    """If the block raises, removes `path` and its parents, except those that existed before or are not empty."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    try:
        yield
    except BaseException:
        for directory in missing:
            with contextlib.suppress(OSError):  # the directory is not empty, or was not created
                directory.rmdir()
        raise


@contextlib.contextmanager
def own_directory(path: Path, *, what: str, cure: str) -> Iterator[None]:
    """Creates the directory `path`, empty and locked against other processes, for the caller to fill and rename.

    Files that a killed process left in it are removed first. If the `with` block raises, the directory is removed,
    and so are those of its parents that did not exist before.

    Args:
      path: the directory.
      what: name of what the caller makes in the directory, for error messages.
      cure: what the user can do if another process has locked the directory, for error messages.

    Raises:
      UsageError: another process has locked the directory.
      OSError: the directory cannot be written.
    """
    with new_directories_removed_on_error(path.parent), _own(path, what=what, cure=cure):
        yield


@contextlib.contextmanager
def _own(path: Path, *, what: str, cure: str) -> Iterator[None]:
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY)  # lock the directory itself, so that no lock file is left behind
    try:
        if not (_try_lock(descriptor) and _is_at(path, descriptor)):
            raise UsageError(f"another process is at work in {what}: wait for it, or {cure}")
        try:
            for left in path.iterdir():
                delete(left)
            yield
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether `path` still names the file or directory that is open as `descriptor` and has just been locked.

    The process that held the lock before may have renamed or removed it.
    """
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _try_lock(file: IO[str] | int) -> bool:
    """Locks an open file or directory; returns False if another process holds its lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # the file system does not support locks: continue without a lock
    return True


def check_writable(path: Path, *, key: str) -> None:
    """Raises UsageError if the file `path` cannot be written, before hours of work depend on it.

    Args:
      path: a file that need not exist.
      key: the config key that names the file, for the error message.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a named pipe would be replaced by a file
            raise ValueError(f"it is {kind_of(path)}")
        if (place := system_place(path.parent)) is not None:
            raise ValueError(f"{place} belongs to the system")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{key}={str(path)!r} cannot be written ({reason}): "
            "set it to a file in an existing directory with write permission"
        ) from None


@contextlib.contextmanager
def replacing(path: Path, *, unique: bool = False) -> Iterator[Path]:
    """Yields the name of a temporary file beside `path`, which replaces `path` when the block ends without an error.

    `path` always is the complete old file or the complete new file, also if the process is killed. After an error the
    temporary file is removed. After a kill it stays, and the next write overwrites it, unless `unique`.

    Args:
      path: the file to replace; it need not exist, its directory must.
      unique: give the temporary file a random name, because several processes may write `path` at the same time.
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
    """Writes a file so that a reader finds either the complete old content or the complete new content.

    Args:
      path: the file; its directory must exist.
      content: text is encoded as UTF-8.
      sync: flush the content and the name to the disk (fsync) before returning, so that they survive a power cut.
      unique: whether several processes may write the file at the same time.
    """
    with replacing(path, unique=unique) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        if sync:
            fsync(part)
    if sync:
        fsync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON values as indented text; a reader finds either the complete old file or the complete new file."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path, *, cure: str, shape: Any = None) -> Any:
    """Reads a JSON file.

    Args:
      path: the file.
      cure: what the user can do about a missing or damaged file, for the error message.
      shape: what the content must look like (see `nested.has_shape`); None: anything.

    Raises:
      UsageError: the file cannot be read, is not JSON, or has another shape.
    """
    try:
        if path.exists() and not path.is_file():  # reading a named pipe would never end
            raise ValueError(f"it is {kind_of(path)}")
        if path.exists() and path.stat().st_size > _LARGEST_JSON:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, more than this program writes")
        content = json.loads(path.read_bytes())
        if shape is not None and not has_shape(content, shape):
            raise ValueError("its content is not what this program writes there")
    except (OSError, ValueError, RecursionError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UsageError(f"{path} cannot be read ({reason}): {cure}") from None
    return content


def delete(path: Path) -> None:
    """Deletes a file, a directory with its content, or a link but not what it points to; nothing if `path` is absent.

    Raises:
      OSError: it cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def free_name(path: Path) -> Path:
    """Returns the first of PATH, PATH-2, PATH-3, ... that does not exist."""
    target, number = path, 1
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}-{number}")
    return target


def set_aside_as_damaged(path: Path) -> Path:
    """Renames 'FILE' to 'FILE.damaged', or to 'FILE.damaged-2' and so on if there is one; returns the new path."""
    return path.rename(free_name(path.with_name(f"{path.name}.damaged")))


def numbered(directory: Path) -> list[int]:
    """Returns the numbers that are names of entries of a directory, ascending: [10, 20]; [] if there is no directory.

    Only numbers as `str` writes them count: '10', but not '010', '²' or '10.part'.
    """
    return sorted(int(path.name) for path in directory.glob("*") if is_number(path.name))


def is_number(name: str) -> bool:
    """Whether `name` equals `str(n)` for an integer n of at least 0."""
    return bool(re.fullmatch("0|[1-9][0-9]*", name))


def fsync(path: Path) -> None:
    """Waits until a file, or the list of names in a directory, is on the disk itself and survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot fsync a directory
            raise
    finally:
        os.close(descriptor)
