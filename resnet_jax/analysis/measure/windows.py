"""Times training steps in several windows of equally many steps, to report the spread of a figure over the windows."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Windows:
    """Number and length of the timed windows."""

    count: int  # number of windows
    steps: int  # steps per window
    warmup_steps: int  # untimed steps before the first window

    @property
    def total_steps(self) -> int:
        """Number of steps of the warm-up and of all windows together."""
        return self.warmup_steps + self.count * self.steps


def time_windows(windows: Windows, run: Callable[[int], None], *, clock: Callable[[], float]) -> list[float]:
    """Returns the seconds that each window takes. The caller must have run the warm-up steps.

    Args:
      windows: number and length of the windows.
      run: runs the given number of steps and returns when they are done.
      clock: returns seconds, like `time.perf_counter`.
    """
    spent = []
    for _ in range(windows.count):
        start = clock()
        run(windows.steps)
        spent.append(clock() - start)
    return spent


def spread(values: list[float]) -> dict[str, Any]:
    """Returns the median, smallest and largest of a figure over the windows, and all values in order."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "windows": values}


def rates(seconds: list[float], images: int) -> dict[str, Any]:
    """Returns the `spread` of images/s over the windows; window i processes `images` images in `seconds[i]`."""
    return spread([images / window for window in seconds])


wall_clock = time.perf_counter
SPARE_BATCHES = 64  # number of batches after the timed ones, so that the loader still prefetches in the last window
