"""Keeps files open between reads, as many as the limit on file descriptors allows."""

import contextlib
import os
import resource
import weakref
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_MAX_DESCRIPTORS = 65_536  # some programs loop over all possible descriptors and are slow with a higher limit
_MAX_FRACTION = 3 / 4  # once this share of all descriptors is in use, no more files are kept open

T = TypeVar("T")


class OpenFiles(Generic[T]):
    """Opens files at their first use and keeps them open while there are free file descriptors.

    Thread-safe. Pickling keeps only the constructor's arguments, so that a worker process opens the files itself.
    """

    def __init__(self, open_file: Callable[[str], T], close: Callable[[T], None]):
        """Takes two module-level functions, which can be pickled: one opens a path, the other closes the open file."""
        self._open_file, self._close = open_file, close
        self._kept: dict[str, T] = {}
        weakref.finalize(self, _close_all, self._kept, close)

    def __reduce__(self) -> tuple:
        return OpenFiles, (self._open_file, self._close)

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[T]:
        """Yields the open file at `path`, for use inside the context only.

        Raises:
          OSError: the file cannot be opened.
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
            if self._kept.get(path) is not file:  # not kept: few descriptors are free, or another thread was faster
                self._close(file)


def raise_limit() -> None:
    """Raises the soft limit on open files, usually 1,024, of this process and its future children, if permitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS reports 'unlimited' but rejects a high limit; in this case the old limit stays.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _scarce() -> bool:
    """Returns whether the lowest free file descriptor is so high that about 3/4 of all descriptors are in use."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit != resource.RLIM_INFINITY and number >= _MAX_FRACTION * limit


def _close_all(kept: dict[str, T], close: Callable[[T], None]) -> None:
    while kept:
        close(kept.popitem()[1])
