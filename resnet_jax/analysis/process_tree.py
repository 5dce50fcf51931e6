"""Measures CPU time and memory of this process and all its descendants."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psutil


class ProcessTree:
    """This process and its descendants."""

    def __init__(self) -> None:
        self._root = psutil.Process()
        self._members = [self._root]

    def refresh(self) -> None:
        """Updates the list of descendants, because processes may have started or ended."""
        self._members = [self._root, *self._root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Returns the user plus system CPU seconds of all processes.

        A process that has ended is included only if its parent has waited for it.
        """
        self.refresh()
        times = self._of_each(psutil.Process.cpu_times)
        return sum(t.user + t.system + getattr(t, "children_user", 0) + getattr(t, "children_system", 0) for t in times)

    def rss(self) -> int:
        """Returns the resident set size in bytes of the processes that the last `refresh` found."""
        return sum(memory.rss for memory in self._of_each(psutil.Process.memory_info))

    def _of_each(self, read: Callable[[psutil.Process], Any]) -> Iterator[Any]:
        for process in self._members:
            with contextlib.suppress(psutil.NoSuchProcess):
                yield read(process)
