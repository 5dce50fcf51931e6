"""Decides when a kill is made: at a random moment of a phase of the run."""

import dataclasses
import time

from drill.kills import Kill
from drill.watching import Watch

INTERVAL = 10  # steps between checkpoints


@dataclasses.dataclass
class Pace:
    """Durations of the phases of a start, in seconds."""

    start: float = float("inf")  # until the first line of the log, the shortest so far
    compilation: float = 0.0  # compilation of the undisturbed run
    evaluation: float = 0.0  # one evaluation of the undisturbed run


class Moment:
    """Decides when to send the signal of a kill."""

    def __init__(self, kill: Kill, watch: Watch, pace: Pace):
        """Construct it right before the start."""
        self._kill, self._watch, self._pace = kill, watch, pace
        self._launched, self._began = time.monotonic(), False
        self._entered: float | None = None  # monotonic time at which the phase of the kill was first seen

    def __call__(self) -> bool:
        """Whether the moment has come."""
        if not self._began and self._watch.began:
            self._began = True
            self._pace.start = min(self._pace.start, time.monotonic() - self._launched)
        return getattr(self, "_in_" + self._kill.phase)()

    def _in_start(self) -> bool:
        return self._past(self._launched, 0.9 * self._pace.start)

    def _in_compile(self) -> bool:
        # The time varies on a busy machine: kill at the end of the compilation if it was shorter than expected.
        begin = self._enter() if self._watch.began else None
        return begin is not None and (self._watch.compiled or self._past(begin, 0.5 * self._pace.compilation))

    def _in_train(self) -> bool:
        return self._watch.phase == "train" and self._steps() > int(self._kill.moment * 2 * INTERVAL)

    def _in_save(self) -> bool:
        # One of the first two saves.
        begin, saving = self._watch.continued_from or 0, self._watch.saving
        return saving is not None and self._watch.compiled and saving - begin > int(self._kill.moment * 2) * INTERVAL

    def _in_evaluation(self) -> bool:
        return self._watch.phase == "evaluation" and self._past(self._enter(), 0.9 * self._pace.evaluation)

    def _steps(self) -> int:
        """Number of steps that this start has made."""
        return self._watch.step - (self._watch.continued_from or 0)

    def _enter(self) -> float:
        self._entered = self._entered or time.monotonic()
        return self._entered

    def _past(self, begin: float, seconds: float) -> bool:
        return time.monotonic() - begin >= self._kill.moment * seconds
