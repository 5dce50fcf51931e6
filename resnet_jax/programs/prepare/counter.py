"""Shows the progress of a long task on the terminal or in the log, and ends the task after a signal."""

import logging
import time
from types import TracebackType

from tqdm import tqdm

from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.text import duration

logger = logging.getLogger(__name__)

_SECONDS_PER_LINE = 30.0


class StoppedError(Exception):
    """A signal asked the program to stop."""


class Counter:
    """Context manager that shows how many items are finished: as a progress bar on a terminal, else in log lines."""

    def __init__(self, what: str, *, total: int, requests: StopRequests, unit: str = "images"):
        """Starts a count of finished items at 0.

        Args:
          what: label of the progress bar and the log lines, in the past tense, for example 'written'.
          total: expected number of items.
          requests: stop requests of signals; after one, `add` raises StoppedError.
          unit: name of the items in the plural.
        """
        self._what, self._total, self._unit, self._requests = what, total, unit, requests
        self._done, self._skipped, self._start = 0, 0, time.monotonic()
        self._next_line = self._start + _SECONDS_PER_LINE
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True, disable=None)

    def __enter__(self) -> "Counter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()
        if error is None:
            logger.info("%s in %s", self._state(), duration(time.monotonic() - self._start))

    def add(self, count: int) -> None:
        """Adds `count` finished items. Raises StoppedError after a signal."""
        if self._requests.stop_asked():
            raise StoppedError
        self._done += count
        self._bar.update(count)
        now = time.monotonic()
        if self._bar.disable and now >= self._next_line:
            self._next_line = now + _SECONDS_PER_LINE
            seconds = now - self._start
            own = self._done - self._skipped
            left = duration(seconds * max(0, self._total - self._done) / max(1, own))
            logger.info("%s, %s/s, %s left", self._state(), f"{own / seconds:,.0f}", left)

    def skip(self, count: int) -> None:
        """Adds `count` items that an earlier process has finished; they are left out of the items per second."""
        self._skipped += count
        self.add(count)

    def _state(self) -> str:
        return f"{self._what} {self._done:,} of {self._total:,} {self._unit}"
