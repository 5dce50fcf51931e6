"""The kills of a drill, their outcomes, and the rules that each outcome must keep."""

import dataclasses
import itertools
import random
import signal
from collections.abc import Sequence

from drill.watching import PHASES

SIGNALS = (signal.SIGTERM, signal.SIGKILL)
STOPPED = 75  # exit status of a run that can be continued by the same command
_CRASH = ("Traceback", "Fatal Python error", "stack trace")  # words that only a crash prints


@dataclasses.dataclass(frozen=True)
class Kill:
    """A planned kill."""

    number: int  # from 1
    phase: str  # phase of the run in which the signal is sent, one of PHASES
    signal: signal.Signals
    victims: tuple[int, ...]  # ids of the processes that get the signal
    moment: float  # fraction of the phase that has passed, in [0, 1)


@dataclasses.dataclass
class Outcome:
    """The state of the run at a kill, and the consequences."""

    kill: Kill
    phase: str  # phase that the run was in
    saved: int | None  # step of the newest complete checkpoint
    saving: int | None  # step of the checkpoint that was being written
    step: int  # last step in the log
    statuses: list[int] = dataclasses.field(default_factory=list)  # exit status of each process; -N: ended by signal N
    seconds: float = 0.0  # seconds from the kill until all processes had ended
    outputs: list[str] = dataclasses.field(default_factory=list)  # output of each process
    resumed: int = 0  # step from which the next start continued

    @property
    def lost(self) -> int:
        """Number of steps that were in the log and had to be made again."""
        return max(0, self.step - self.resumed)


def kinds(processes: int) -> list[tuple[str, signal.Signals, tuple[int, ...]]]:
    """All combinations of phase, signal, and victims (each process alone, and all): (phase, signal, victims)."""
    victims: list[tuple[int, ...]] = [(index,) for index in range(processes)]
    if processes > 1:
        victims.append(tuple(range(processes)))
    return list(itertools.product(PHASES, SIGNALS, victims))


def sample_kills(count: int, *, processes: int, seed: int) -> list[Kill]:
    """Samples kills without replacement from `kinds`, in random order; starts over when all kinds are used."""
    rng, every = random.Random(seed), kinds(processes)
    drawn: list[tuple[str, signal.Signals, tuple[int, ...]]] = []
    while len(drawn) < count:
        drawn += rng.sample(every, len(every))
    return [Kill(number, *kind, moment=rng.random()) for number, kind in enumerate(drawn[:count], start=1)]


def problems(outcome: Outcome, *, interval: int) -> list[str]:
    """Describes the rules that an outcome breaks.

    Args:
      outcome: complete, with `resumed`.
      interval: steps between checkpoints.
    """
    found = [*_wrong_statuses(outcome), *_crashes(outcome.outputs)]
    allowed = allowed_loss(outcome, interval)
    if outcome.lost > allowed:
        found.append(f"{outcome.lost} steps lost, {allowed} allowed")
    return found


def allowed_loss(outcome: Outcome, interval: int) -> int:
    """Number of logged steps that a kill may lose.

    SIGTERM leaves time to save: none. SIGKILL: one interval. If a checkpoint was being written, it does not count, and
    training went on meanwhile: the steps since that save began are allowed in addition.
    """
    if outcome.kill.signal == signal.SIGTERM:
        return 0
    return interval + (0 if outcome.saving is None else max(0, outcome.step - outcome.saving))


def _wrong_statuses(outcome: Outcome) -> list[str]:
    found = []
    for index, status in enumerate(outcome.statuses):
        allowed = _allowed_statuses(outcome, index)
        if status not in allowed:
            expected = " or ".join(str(one) for one in sorted(allowed))
            found.append(f"process {index} ended with {status}, not {expected}")
    return found


def _allowed_statuses(outcome: Outcome, index: int) -> set[int]:
    kill = outcome.kill
    if kill.signal == signal.SIGKILL and index in kill.victims:
        return {-signal.SIGKILL}
    if outcome.phase != "start":
        return {STOPPED}
    # Early in a start no signal handler is installed yet.
    return {STOPPED, -signal.SIGTERM} if index in kill.victims else {STOPPED}


def _crashes(outputs: Sequence[str]) -> list[str]:
    return [
        f"process {index} printed {word!r}" for index, output in enumerate(outputs) for word in _CRASH if word in output
    ]
