"""One process at a time."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from resnet_jax.errors import UsageError


@contextlib.contextmanager
def locked(path: Path, *, what: str, cure: str) -> Iterator[None]:
    """Makes the file `path` and what is above it, and keeps other processes from entering meanwhile.

    The lock goes with the process, however that ends; the file stays.

    Args:
      path: of the lock file.
      what: is locked, for messages.
      cure: what to do if it cannot be, for messages.

    Raises:
      UsageError: the place cannot be written, or another process is inside.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise UsageError(f"{what} cannot be written ({error.strerror}): {cure}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is at work in {what}: wait for it, or {cure}") from None
        except OSError:
            pass  # a file system without locks: as good as it gets
        yield
