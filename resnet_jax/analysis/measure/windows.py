"""Timed windows: the same work again and again, so that a figure has a spread."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Windows:
    """How often what is timed."""

    count: int
    steps: int  # in each of them
    warmup_steps: int  # before the first

    @property
    def total_steps(self) -> int:
        """Steps of all, with the warm-up."""
        return self.warmup_steps + self.count * self.steps


def time_windows(windows: Windows, run: Callable[[int], None], *, clock: Callable[[], float]) -> list[float]:
    """What `clock` advances by in each window; the warm-up is for the caller to make.

    Args:
      windows: how many, of how many steps.
      run: makes so many steps, and returns when they are done.
      clock: as `time.perf_counter`.
    """
    spent = []
    for _ in range(windows.count):
        start = clock()
        run(windows.steps)
        spent.append(clock() - start)
    return spent


def spread(values: list[float]) -> dict[str, Any]:
    """The median of a figure over the windows, the smallest, the largest, and all in order."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "windows": values}


def rates(seconds: list[float], images: int) -> dict[str, Any]:
    """Images a second, of windows of so many images."""
    return spread([images / window for window in seconds])


wall_clock = time.perf_counter
SPARE_BATCHES = 64  # that a loader could still make after the last window: it works in that one as in the others
