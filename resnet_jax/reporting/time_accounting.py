"""Attributes each second of a run's wall time to one phase.

The phase is 'step' while the devices execute a training step. At other times it is named after what the host does.
"""

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

# Phase 'step': the devices execute a training step, whatever the host does at that time.
# In every other phase the devices execute no training step, and the phase is named after what the host does.
# Phase 'import': the host loads the code, from the start of the process.
# Phase 'start': the host finds the data, creates or restores the training state and opens files.
# Phase 'compile': the host compiles programs.
# Phase 'input': the host waits for a batch to be read and decoded.
# Phase 'checkpoint': the host saves a checkpoint.
# Phase 'eval': the network is evaluated.
# Phase 'host': the host does anything else.
PHASES = ("import", "start", "compile", "step", "input", "host", "checkpoint", "eval")
TRAINING = ("step", "input", "host")  # training images/s = images / seconds in these phases

T = TypeVar("T")


class _Interval(NamedTuple):
    """A span of wall time that belongs to one phase."""

    start: float  # seconds on the clock
    end: float  # seconds on the clock
    phase: str


class TimeAccounting:
    """Measures how much wall time each of `PHASES` takes. It is a context manager, whose end stops its thread.

    The host's phases are measured with the clock. A thread that waits for the results of each step records when the
    devices have finished the step.
    """

    def __init__(self, *, age: float = 0.0, clock: Callable[[], float] = time.perf_counter):
        """Starts measuring. The phase of the last `age` seconds, since the start of the process, is 'import'."""
        self._clock, self._lock = clock, threading.Lock()
        self.seconds_to_first_step: float | None = None  # from process start to the results of the first step
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._phases = ["host"]  # the host's nested phases, innermost last
        self._since = clock()  # clock time of the end of the latest interval in `_host`
        self._began = self._since - age
        self._host = [_Interval(self._began, self._since, "import")]  # the host's phases, not yet added to `_seconds`
        self._busy: list[_Interval] = []  # when the devices executed steps, in order, not yet added to `_seconds`
        self._dispatched: deque[float] = deque()  # dispatch times of the steps that have not finished
        self._idle_since = float("-inf")  # end of the latest interval that was added to `_busy`
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()  # totals of dispatched steps; None ends the thread
        threading.Thread(target=self._watch, name="time accounting", daemon=True).start()

    def __enter__(self) -> "TimeAccounting":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._results.put(None)

    @contextlib.contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Attributes the host's time inside the `with` block to `phase`; a nested `measure` takes precedence."""
        self._enter_phases([*self._phases, phase])
        try:
            yield
        finally:
            self._enter_phases(self._phases[:-1])

    def measure_items(self, phase: str, items: Iterable[T]) -> Iterator[T]:
        """Yields from `items`, and attributes the time spent waiting for each item to `phase`."""
        iterator = iter(items)
        while True:
            with self.measure(phase):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def step(self, function: Callable[..., tuple[Any, Any]], *arguments: Any) -> tuple[Any, Any]:
        """Dispatches a training step; returns its two results. Devices count as busy until the second one is ready."""
        with self._lock:
            self._dispatched.append(self._clock())
        try:
            new, totals = function(*arguments)
        except BaseException:
            with self._lock:
                self._dispatched.pop()
            raise
        self._results.put(totals)
        return new, totals

    def seconds(self) -> dict[str, float]:
        """Returns the seconds in each phase since process start."""
        self._enter_phases(self._phases)
        with self._lock:
            now = self._since
            if self._dispatched and (start := max(self._dispatched[0], self._idle_since)) < now:
                self._busy.append(_Interval(start, now, "step"))
                self._idle_since = now
            for phase, seconds in _attribute(self._host, self._busy):
                self._seconds[phase] += seconds
            self._host = []
            # The thread may have recorded a step that ended after `now`: the next call counts the time after `now`.
            self._busy = [interval._replace(start=now) for interval in self._busy if interval.end > now]
        return dict(self._seconds)

    def mark_first_step(self) -> float:
        """Records at its first call that the first step is done; returns the seconds from process start until then."""
        if self.seconds_to_first_step is None:
            self.seconds_to_first_step = self._clock() - self._began
        return self.seconds_to_first_step

    def _enter_phases(self, phases: list[str]) -> None:
        now = self._clock()
        self._host.append(_Interval(self._since, now, self._phases[-1]))
        self._since, self._phases = now, phases

    def _watch(self) -> None:
        """Records, in a thread of its own, at what time the results of each step are ready."""
        while (totals := self._results.get()) is not None:
            with contextlib.suppress(Exception):  # the training loop gets the same error when it fetches the totals
                jax.block_until_ready(totals)
            del totals
            with self._lock:
                now = self._clock()
                start = max(self._dispatched.popleft(), self._idle_since)
                self._busy.append(_Interval(start, now, "step"))
                self._idle_since = now
            self.mark_first_step()


def _attribute(host: list[_Interval], busy: list[_Interval]) -> Iterator[tuple[str, float]]:
    """Yields ('step', seconds in which the devices were busy) and (host's phase, the rest) for each host interval."""
    later = deque(busy)
    for start, end, phase in host:
        overlap = 0.0
        while later and later[0].start < end:
            overlap += max(0.0, min(end, later[0].end) - max(start, later[0].start))
            if later[0].end > end:
                break
            later.popleft()
        yield "step", overlap
        yield phase, end - start - overlap


def process_age() -> float:
    """Returns the seconds since this process started, to a hundredth; 0 where /proc is missing (outside Linux)."""
    try:
        # Fields are counted after the last ')': the name of the executable, in parentheses, may contain any character.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): field 22, clock ticks from boot to start
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, ValueError):
        return 0.0
