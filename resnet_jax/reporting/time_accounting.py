"""Where the wall time of a run goes, as the devices see it."""

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import jax

# While the devices work on a training step, time is that of 'step', whatever the host does meanwhile. All other time
# goes to what the host was at while the devices had no step to work on: 'import' is all until the code is loaded;
# 'start' finding the data, making or restoring the state, opening files; 'compile' making programs; 'input' waiting for
# a batch to be read and decoded; 'checkpoint' and 'eval' as they say; and 'host' all the rest.
PHASES = ("import", "start", "compile", "step", "input", "host", "checkpoint", "eval")
TRAINING = ("step", "input", "host")  # those that rates are taken over

T = TypeVar("T")


class _Interval(NamedTuple):
    """Some time, in seconds of the clock, and what it was spent on."""

    start: float
    end: float
    part: str


class TimeAccounting:
    """Divides wall time into `PHASES`; every moment belongs to one. A context manager: leaving it ends its thread.

    Both sides are measured: what the host is at by the clock, and when each step's results are ready by a thread that
    waits for them.
    """

    def __init__(self, *, age: float = 0.0, clock: Callable[[], float] = time.perf_counter):
        """Begins to measure; `age` seconds before that go to 'import'."""
        self._clock, self._lock = clock, threading.Lock()
        self.seconds_to_first_step: float | None = None  # from process start to the first step's results
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._parts = ["host"]  # what the host is at, the innermost last
        self._since = clock()
        self._began = self._since - age
        self._host = [_Interval(self._began, self._since, "import")]
        self._busy: list[_Interval] = []  # of the devices, one after the other
        self._begun: deque[float] = deque()  # when the steps that are not ready were handed to the devices
        self._free = float("-inf")  # since when the devices have nothing to do but those
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._watch, name="time accounting", daemon=True).start()

    def __enter__(self) -> "TimeAccounting":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._results.put(None)

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """What the host does in here is `part`; of what is measured inside another, the inner one counts."""
        self._turn_to([*self._parts, part])
        try:
            yield
        finally:
            self._turn_to(self._parts[:-1])

    def measure_items(self, part: str, items: Iterable[T]) -> Iterator[T]:
        """Passes on items; the time until each is there is `part`."""
        iterator = iter(items)
        while True:
            with self.measure(part):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def step(self, function: Callable[..., tuple[Any, Any]], *arguments: Any) -> tuple[Any, Any]:
        """Calls a training step; the devices are at work from now until its second result is ready."""
        with self._lock:
            self._begun.append(self._clock())
        try:
            new, totals = function(*arguments)
        except BaseException:
            with self._lock:
                self._begun.pop()
            raise
        self._results.put(totals)
        return new, totals

    def seconds(self) -> dict[str, float]:
        """Seconds by part from the beginning until now."""
        self._turn_to(self._parts)
        with self._lock:
            now = self._since
            if self._begun and (start := max(self._begun[0], self._free)) < now:
                self._busy.append(_Interval(start, now, "step"))
                self._free = now
            for part, seconds in _shared_out(self._host, self._busy):
                self._seconds[part] += seconds
            self._host = []
            # A step may have ended since `now` was read.
            self._busy = [interval._replace(start=now) for interval in self._busy if interval.end > now]
        return dict(self._seconds)

    def mark_first_step(self) -> float:
        """Whoever has results of a step says so: the seconds from the beginning until that was first done."""
        if self.seconds_to_first_step is None:
            self.seconds_to_first_step = self._clock() - self._began
        return self.seconds_to_first_step

    def _turn_to(self, parts: list[str]) -> None:
        now = self._clock()
        self._host.append(_Interval(self._since, now, self._parts[-1]))
        self._since, self._parts = now, parts

    def _watch(self) -> None:
        """Notes when each step's results are ready, in order."""
        while (totals := self._results.get()) is not None:
            with contextlib.suppress(Exception):  # who fetches them meets it, too
                jax.block_until_ready(totals)
            del totals
            with self._lock:
                now = self._clock()
                start = max(self._begun.popleft(), self._free)
                self._busy.append(_Interval(start, now, "step"))
                self._free = now
            self.mark_first_step()


def _shared_out(host: list[_Interval], busy: list[_Interval]) -> Iterator[tuple[str, float]]:
    """The seconds of each interval of the host: those in which the devices were busy are theirs."""
    later = deque(busy)
    for start, end, part in host:
        taken = 0.0
        while later and later[0].start < end:
            taken += max(0.0, min(end, later[0].end) - max(start, later[0].start))
            if later[0].end > end:
                break
            later.popleft()
        yield "step", taken
        yield part, end - start - taken


def process_age() -> float:
    """Seconds since the system made this process, to a hundredth; where it does not say, as outside Linux, 0."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # the name before it may hold anything
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): field 22, in ticks since the system's start
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, ValueError):
        return 0.0
