"""Which kills there are to be, what came of each, and what must not come of any."""

import dataclasses
import itertools
import random
import signal
from collections.abc import Sequence

from drill.watching import PHASES

SIGNALS = (signal.SIGTERM, signal.SIGKILL)
STOPPED = 75  # exit status of a run that is to be started again
_SPOKEN = ("Traceback", "Fatal Python error", "stack trace")  # of a crash


@dataclasses.dataclass(frozen=True)
class Kill:
    """A kill that is to be."""

    number: int  # from 1
    phase: str  # of the run, when it comes
    signal: signal.Signals
    victims: tuple[int, ...]  # processes
    moment: float  # in [0, 1): when in the phase


@dataclasses.dataclass
class Outcome:
    """What a kill met, and what came of it."""

    kill: Kill
    phase: str  # that the run was in
    saved: int | None  # newest whole checkpoint
    saving: int | None  # checkpoint that was being written
    step: int  # last one reported
    statuses: list[int] = dataclasses.field(default_factory=list)  # of the processes; -N: ended by signal N
    seconds: float = 0.0  # until all had ended
    outputs: list[str] = dataclasses.field(default_factory=list)  # what each process printed
    resumed: int = 0  # step that the next start went on from

    @property
    def lost(self) -> int:
        """Steps that had been reported and were made again."""
        return max(0, self.step - self.resumed)


def kinds(processes: int) -> list[tuple[str, signal.Signals, tuple[int, ...]]]:
    """Every phase with every signal to each of the processes and to all: (phase, signal, victims)."""
    victims: list[tuple[int, ...]] = [(index,) for index in range(processes)]
    if processes > 1:
        victims.append(tuple(range(processes)))
    return list(itertools.product(PHASES, SIGNALS, victims))


def draw(count: int, *, processes: int, seed: int) -> list[Kill]:
    """Draws kills: every phase, signal and choice of victims once, in random order, then all of them once more."""
    rng, every = random.Random(seed), kinds(processes)
    drawn: list[tuple[str, signal.Signals, tuple[int, ...]]] = []
    while len(drawn) < count:
        drawn += rng.sample(every, len(every))
    return [Kill(number, *kind, moment=rng.random()) for number, kind in enumerate(drawn[:count], start=1)]


def problems(outcome: Outcome, *, interval: int) -> list[str]:
    """What should not have come of a kill, in words.

    Args:
      outcome: of one kill, with the step that the next start went on from.
      interval: steps between checkpoints.
    """
    found = [*_wrong_statuses(outcome), *_crashes(outcome.outputs)]
    allowed = allowed_loss(outcome, interval)
    if outcome.lost > allowed:
        found.append(f"{outcome.lost} steps lost, {allowed} may be")
    return found


def allowed_loss(outcome: Outcome, interval: int) -> int:
    """How many reported steps a kill may cost.

    None, where there was time to save. One interval otherwise; while a checkpoint is being written, training goes on,
    and the checkpoint before it is the last: so the steps since that save began come on top.
    """
    if outcome.kill.signal == signal.SIGTERM:
        return 0
    return interval + (0 if outcome.saving is None else max(0, outcome.step - outcome.saving))


def _wrong_statuses(outcome: Outcome) -> list[str]:
    found = []
    for index, status in enumerate(outcome.statuses):
        allowed = _allowed_statuses(outcome, index)
        if status not in allowed:
            wanted = " or ".join(str(one) for one in sorted(allowed))
            found.append(f"process {index} ended with {status}, not {wanted}")
    return found


def _allowed_statuses(outcome: Outcome, index: int) -> set[int]:
    kill = outcome.kill
    if kill.signal == signal.SIGKILL and index in kill.victims:
        return {-signal.SIGKILL}
    if outcome.phase != "start":
        return {STOPPED}
    # Before its first line of Python a program has no handler.
    return {STOPPED, -signal.SIGTERM} if index in kill.victims else {STOPPED}


def _crashes(outputs: Sequence[str]) -> list[str]:
    return [
        f"process {index} printed {word!r}"
        for index, output in enumerate(outputs)
        for word in _SPOKEN
        if word in output
    ]
