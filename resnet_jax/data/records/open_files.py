"""Many files open at once, as many as the system lets one process have."""

import contextlib
import os
import resource
import weakref
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_ENOUGH = 65_536  # descriptors; beyond, programs that try every number one after the other get slow
_KEEP_BELOW = 3 / 4  # of the descriptors; the others are for checkpoints, logs, the device

T = TypeVar("T")


class OpenFiles(Generic[T]):
    """Files that are opened at their first use and stay open while there are descriptors to spare.

    Safe in threads. A copy in another process, forked ones aside, starts with nothing open.
    """

    def __init__(self, open_file: Callable[[str], T], close: Callable[[T], None]):
        """Takes functions of a module, so that they can be pickled."""
        self._open_file, self._close = open_file, close
        self._kept: dict[str, T] = {}
        weakref.finalize(self, _close_all, self._kept, close)

    def __reduce__(self) -> tuple:
        return OpenFiles, (self._open_file, self._close)

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[T]:
        """Lends the open file at `path`; not to be used outside.

        Raises:
          OSError: it cannot be opened.
        """
        kept = self._kept.get(path)
        if kept is not None:
            yield kept
            return
        raise_limit()
        file = self._open_file(path)
        try:
            yield file if _scarce() else self._kept.setdefault(path, file)
        finally:
            if self._kept.get(path) is not file:  # scarce, or another thread was first
                self._close(file)


def raise_limit() -> None:
    """Lets this process, and those that it starts, open more files than the usual 1,024, if the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS says 'unlimited' and means less: as good as it gets
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _scarce() -> bool:
    """Whether most of the descriptors are in use: a new one has the lowest number that is free."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit != resource.RLIM_INFINITY and number >= _KEEP_BELOW * limit


def _close_all(kept: dict[str, T], close: Callable[[T], None]) -> None:
    while kept:
        close(kept.popitem()[1])
