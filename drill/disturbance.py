"""The runs of a drill: one that is left alone, and one that is killed again and again."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from drill.kills import Kill, Outcome
from drill.launch import Processes, StillRunningError, cpu_environment
from drill.watching import Watch

INTERVAL = 10  # steps between checkpoints
EVAL_EVERY = 40  # steps between evaluations

# configs/digits.py, but a step takes some 40 ms on two cores, and an evaluation half a second.
RECIPE = {
    "data.batch_size": 96,
    "model.features": 16,
    "model.bn_group_size": 24,
    "eval.every_steps": EVAL_EVERY,
    "eval.batch_size": 4,
    "checkpoint.every_steps": INTERVAL,
    "log.every_steps": 1,
    "log.tensorboard": False,
}
_JOIN_TIMEOUT = 30  # seconds that processes wait for each other
_LOOK = 0.002  # seconds between looks at a run
_LONG = 1800.0  # seconds in which any run comes to its end


class DrillError(Exception):
    """The drill itself cannot go on."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where and with what the runs go."""

    directory: Path
    processes: int
    devices: int  # of each process
    steps: int  # of the run
    deadline: float  # seconds after a kill in which all processes must have ended

    @property
    def undisturbed(self) -> Path:
        """Work directory of the run that is left alone."""
        return self.directory / "undisturbed"

    @property
    def disturbed(self) -> Path:
        """Work directory of the run that is killed."""
        return self.directory / "disturbed"


@dataclasses.dataclass
class Pace:
    """How long the parts of a start take, in seconds."""

    start: float = float("inf")  # imports and all before the first line of the log: the shortest seen
    compilation: float = 0.0  # of the undisturbed run
    evaluation: float = 0.0  # likewise, of one


def leave_alone(setting: Setting) -> Pace:
    """Makes the undisturbed run. Raises DrillError if it fails."""
    pace, begin = Pace(), time.monotonic()
    watch = Watch(setting.undisturbed, eval_every=EVAL_EVERY)
    with _start(setting, setting.undisturbed, "undisturbed") as processes:
        _until(lambda: watch.began, processes, "the undisturbed run")
        pace.start = time.monotonic() - begin
        _must_complete(processes, "the undisturbed run")
    seconds = json.loads((setting.undisturbed / "result.json").read_text())["seconds"]
    pace.compilation = seconds["compile"]
    pace.evaluation = seconds["eval"] / (setting.steps // EVAL_EVERY)
    return pace


def disturb(setting: Setting, kills: Sequence[Kill], pace: Pace) -> Iterator[Outcome]:
    """Kills the run as `kills` say, and yields what came of each once a later start has said where it goes on.

    Raises:
      DrillError: processes do not end, or the run is over before its last kill.
    """
    unsettled: list[Outcome] = []
    for kill in kills:
        watch = Watch(setting.disturbed, eval_every=EVAL_EVERY)
        outcome = _kill_once(setting, kill, watch, pace)
        if watch.went_on_from is not None:
            yield from _settled(unsettled, watch.went_on_from)
            unsettled = []
        unsettled.append(outcome)
    watch = Watch(setting.disturbed, eval_every=EVAL_EVERY)
    with _start(setting, setting.disturbed, "last") as processes:
        _must_complete(processes, "the run after the last kill")
    yield from _settled(unsettled, watch.went_on_from or 0)


def steps_for(kills: Sequence[Kill]) -> int:
    """A length of the run that leaves room for all the kills, in whole evaluations."""
    room = {"train": 2 * INTERVAL + 1, "save": 2 * INTERVAL + 1, "evaluation": EVAL_EVERY + 1}
    needed = sum(room.get(kill.phase, 0) for kill in kills)
    return (needed // EVAL_EVERY + 2) * EVAL_EVERY


def _kill_once(setting: Setting, kill: Kill, watch: Watch, pace: Pace) -> Outcome:
    # A start that is to be killed while it compiles does compile.
    name, cached = f"kill-{kill.number:02}", kill.phase != "compile"
    with _start(setting, setting.disturbed, name, cached=cached) as processes:
        _freeze_at(_Moment(kill, watch, pace), kill, watch, processes)
        met = Outcome(kill, watch.phase, watch.saved, watch.saving, watch.step)
        begin = time.monotonic()
        processes.send(kill.signal, kill.victims)
        processes.thaw()
        try:
            met.statuses = processes.wait(setting.deadline)
        except StillRunningError as error:
            raise DrillError(f"kill {kill.number}: {error}{_last_words(processes)}") from None
        met.seconds = time.monotonic() - begin
        met.outputs = [processes.output(index) for index in range(setting.processes)]
    return met


class _Moment:
    """The condition on which a kill comes."""

    def __init__(self, kill: Kill, watch: Watch, pace: Pace):
        """For a start that is about to be made."""
        self._kill, self._watch, self._pace = kill, watch, pace
        self._launched, self._began = time.monotonic(), False
        self._entered: float | None = None  # the phase that is meant was seen for the first time

    def __call__(self) -> bool:
        """Whether it is there."""
        if not self._began and self._watch.began:
            self._began = True
            self._pace.start = min(self._pace.start, time.monotonic() - self._launched)
        return getattr(self, "_in_" + self._kill.phase)()

    def _in_start(self) -> bool:
        return self._past(self._launched, 0.9 * self._pace.start)

    def _in_compile(self) -> bool:
        # On a busy machine it takes now more, now less time: what is over is not waited for.
        begin = self._enter() if self._watch.began else None
        return begin is not None and (self._watch.compiled or self._past(begin, 0.5 * self._pace.compilation))

    def _in_train(self) -> bool:
        return self._watch.phase == "train" and self._steps() > int(self._kill.moment * 2 * INTERVAL)

    def _in_save(self) -> bool:
        # One of the first two saves.
        begin, saving = self._watch.went_on_from or 0, self._watch.saving
        return saving is not None and self._watch.compiled and saving - begin > int(self._kill.moment * 2) * INTERVAL

    def _in_evaluation(self) -> bool:
        return self._watch.phase == "evaluation" and self._past(self._enter(), 0.9 * self._pace.evaluation)

    def _steps(self) -> int:
        """Made by this start."""
        return self._watch.step - (self._watch.went_on_from or 0)

    def _enter(self) -> float:
        self._entered = self._entered or time.monotonic()
        return self._entered

    def _past(self, begin: float, seconds: float) -> bool:
        return time.monotonic() - begin >= self._kill.moment * seconds


def _freeze_at(moment: Callable[[], bool], kill: Kill, watch: Watch, processes: Processes) -> None:
    """Lets the processes stand still at a moment that is still there once they do."""
    while True:
        _until(moment, processes, f"kill {kill.number}")
        processes.freeze()
        if kill.phase in ("start", "compile", watch.phase):
            return
        processes.thaw()


def _until(condition: Callable[[], bool], processes: Processes, what: str) -> None:
    deadline = time.monotonic() + _LONG
    while not condition():
        if any(status is not None for status in processes.statuses()) or time.monotonic() > deadline:
            raise DrillError(f"{what}: the moment did not come{_last_words(processes)}")
        time.sleep(_LOOK)


def _must_complete(processes: Processes, what: str) -> None:
    statuses = processes.wait(_LONG)
    if any(statuses):
        raise DrillError(f"{what} failed{_last_words(processes)}")


def _last_words(processes: Processes) -> str:
    """Status and end of the output of each process, to stand at the end of an error."""
    ends = (processes.output(index)[-1000:] for index in range(len(processes.statuses())))
    pairs = zip(processes.statuses(), ends, strict=True)
    return "".join(f"\nprocess {index}, exit status {status}:\n{end}" for index, (status, end) in enumerate(pairs))


def _settled(outcomes: Sequence[Outcome], resumed: int) -> list[Outcome]:
    return [dataclasses.replace(outcome, resumed=resumed) for outcome in outcomes]


def _start(setting: Setting, workdir: Path, name: str, *, cached: bool = True) -> Processes:
    settings = RECIPE | {"train.total_steps": setting.steps}
    arguments = ["--config=configs/digits.py", f"--workdir={workdir}"]
    arguments += [f"--config.{key}={value}" for key, value in settings.items()]
    if setting.processes > 1:
        arguments.append(f"--join_timeout={_JOIN_TIMEOUT}")
    environment = cpu_environment(
        devices=setting.devices,
        TFDS_DATA_DIR=setting.directory / "data",
        JAX_COMPILATION_CACHE_DIR=setting.directory / "cache",
        JAX_ENABLE_COMPILATION_CACHE=str(cached).lower(),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    )
    outputs = setting.directory / "outputs" / name
    return Processes(arguments, count=setting.processes, outputs=outputs, environment=environment)
