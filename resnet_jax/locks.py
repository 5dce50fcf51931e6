"""One process at a time."""

import contextlib
import fcntl
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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


def _take(file: IO[str]) -> bool:
    """Whether the lock is now had."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: as good as it gets
    return True
