"""How far a long piece of work is, and the place where a signal stops it."""

import logging
import time
from types import TracebackType

from tqdm import tqdm

from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.reporting.bottleneck import duration

logger = logging.getLogger(__name__)

_SECONDS_PER_LINE = 30.0


class StoppedError(Exception):
    """A signal asked to stop."""


class Counter:
    """Counts things done: a bar on a terminal, else a line every half minute. Leaving it ends the bar."""

    def __init__(self, what: str, *, total: int, requests: StopRequests, unit: str = "images"):
        """Starts at none of `total`; `what` is in the past tense, as 'written'."""
        self._what, self._total, self._unit, self._requests = what, total, unit, requests
        self._done, self._start = 0, time.monotonic()
        self._next_line = self._start + _SECONDS_PER_LINE
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True, disable=None)

    def __enter__(self) -> "Counter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()
        if error is None:
            logger.info("%s in %s", self._state(), duration(time.monotonic() - self._start))

    def add(self, count: int) -> None:
        """So many more are done; raises StoppedError once a signal has come."""
        if self._requests.stop_asked():
            raise StoppedError
        self._done += count
        self._bar.update(count)
        now = time.monotonic()
        if self._bar.disable and now >= self._next_line:
            self._next_line = now + _SECONDS_PER_LINE
            seconds = now - self._start
            left = duration(seconds * max(0, self._total - self._done) / max(1, self._done))
            logger.info("%s, %s/s, %s left", self._state(), f"{self._done / seconds:,.0f}", left)

    def _state(self) -> str:
        return f"{self._what} {self._done:,} of {self._total:,} {self._unit}"
