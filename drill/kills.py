"""The kills of a drill, and their outcomes."""

import dataclasses
import itertools
import random
import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

from drill.watching import PHASES

SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)
# What a kill does -> its name in tables; {} stands for the name of the signal.
WAYS = {
    "signal": "{}",  # sends the signal to each victim
    "group": "{} to the group",  # sends it to the process group: to launch/local.sh and all that it has started
    "stopped": "{} for good",  # stops the victims; they are killed when all other processes have ended
    "paused": "{} for 30 s",  # stops the victims, lets them continue, and later ends the run by SIGTERM
    "full disk": "full disk",  # limits the size of files, so that nothing more can be written; the next start can
    "damage": "{}, damage",  # kills all processes, then damages the newest checkpoint if there is an older one
    "worker": "{} to a worker",  # kills a process that decodes images
}
_WITH_WORKERS = 0.2  # share of the starts in which worker processes decode


class Kind(NamedTuple):
    """A kind of kill."""

    way: str  # one of WAYS
    phase: str  # phase of the run in which it is made, one of PHASES
    signal: signal.Signals
    victims: tuple[int, ...]  # ids of the processes that get the signal


@dataclasses.dataclass(frozen=True)
class Kill:
    """A planned kill; see `Kind`."""

    number: int  # from 1
    phase: str
    signal: signal.Signals
    victims: tuple[int, ...]
    moment: float  # fraction of the phase that has passed, in [0, 1)
    way: str = "signal"
    workers: int = 0  # worker processes of each process of the start that is killed

    @property
    def name(self) -> str:
        """What the kill does, for example 'SIGTERM to the group'."""
        return WAYS[self.way].format(self.signal.name)


@dataclasses.dataclass
class Outcome:
    """The state of the run at a kill, and the consequences."""

    kill: Kill
    phase: str  # phase that the run was in
    saved: int | None  # step of the newest complete checkpoint; after 'damage': of the newest undamaged one
    saving: int | None  # step of the checkpoint that was being written
    step: int  # last step in the log
    # Exit status of each process, or of launch/local.sh; -N: ended by signal N; None: still running.
    statuses: list[int | None] = dataclasses.field(default_factory=list)
    seconds: float = 0.0  # seconds from the kill until all processes had ended
    outputs: list[str] = dataclasses.field(default_factory=list)  # output of each process
    leftovers: list[str] = dataclasses.field(default_factory=list)  # commands of processes that ran on
    failure: str = ""  # why the kill could not be made
    resumed: int = 0  # step from which the next start continued
    problems: list[str] = dataclasses.field(default_factory=list)  # rules that the run broke; see drill/rules.py

    @property
    def lost(self) -> int:
        """Number of steps that were in the log and had to be made again."""
        return max(0, self.step - self.resumed)

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as JSON values, except for the outputs."""
        values = dataclasses.asdict(self) | {"kill": dataclasses.asdict(self.kill) | {"signal": self.kill.signal.name}}
        del values["outputs"]
        return values | {"lost": self.lost}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Outcome":
        """Returns the outcome that `to_json` has described, without the outputs."""
        kill = values["kill"]
        kill = Kill(**kill | {"signal": signal.Signals[kill["signal"]], "victims": tuple(kill["victims"])})
        return cls(**{name: value for name, value in values.items() if name != "lost"} | {"kill": kill})


def kinds(processes: int) -> list[Kind]:
    """Returns all kinds of kills for a run of `processes` processes."""
    each = [(index,) for index in range(processes)]
    everyone = tuple(range(processes))
    sets = [*each, everyone] if processes > 1 else each
    stopped = itertools.product(PHASES, each) if processes > 1 else ()
    return [
        *(
            Kind("signal", phase, number, victims)
            for phase, number, victims in itertools.product(PHASES, SIGNALS, sets)
        ),
        *(Kind("group", phase, signal.SIGTERM, everyone) for phase in PHASES),
        *(Kind("stopped", phase, signal.SIGSTOP, victims) for phase, victims in stopped),
        *(Kind("paused", "train", signal.SIGSTOP, victims) for victims in sets),
        *(Kind("full disk", phase, signal.SIGXFSZ, everyone) for phase in ("train", "save")),
        *(Kind("damage", phase, signal.SIGKILL, everyone) for phase in ("train", "save")),
        *(Kind("worker", "train", signal.SIGKILL, victims) for victims in each),
    ]


def sample_kills(count: int, *, processes: int, seed: int, ways: Sequence[str] = tuple(WAYS)) -> list[Kill]:
    """Samples kills without replacement from `kinds`, in random order; starts over when all kinds are used.

    Args:
      count: number of kills.
      processes: number of processes of the run.
      seed: seed of order, moments and workers.
      ways: the keys of WAYS to use.
    """
    rng, every = random.Random(seed), [kind for kind in kinds(processes) if kind.way in ways]
    drawn: list[Kind] = []
    while len(drawn) < count:
        drawn += rng.sample(every, len(every))
    return [_kill(number, kind, rng) for number, kind in enumerate(drawn[:count], start=1)]


def _kill(number: int, kind: Kind, rng: random.Random) -> Kill:
    workers = int(kind.way == "worker" or rng.random() < _WITH_WORKERS)
    return Kill(number, kind.phase, kind.signal, kind.victims, rng.random(), kind.way, workers)
