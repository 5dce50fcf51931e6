"""The two runs of a drill: the undisturbed one, and the one that is killed and restarted."""

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

# Changes to configs/digits.py, so that on two cores a step takes about 40 ms and an evaluation about 0.5 s.
RECIPE = {
    "data.batch_size": 96,
    "model.features": 16,
    "model.bn_group_size": 24,
    "eval.every_steps": EVAL_EVERY,
    "eval.batch_size": 4,
    "checkpoint.every_steps": INTERVAL,
    "log.every_steps": 1,
    "log.inputs": False,
    "log.tensorboard": False,
}
_JOIN_TIMEOUT = 30  # seconds that processes wait for each other at a start
_POLL = 0.002  # seconds between observations of a run
_RUN_TIMEOUT = 1800.0  # seconds, more than any run of the drill takes


class DrillError(Exception):
    """The drill cannot continue."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The options of a drill."""

    directory: Path  # everything that the drill writes
    processes: int  # number of processes of each run
    devices: int  # number of virtual CPU devices of each process
    steps: int  # length of each run
    deadline: float  # seconds within which all processes must end after a kill

    @property
    def undisturbed(self) -> Path:
        """Work directory of the undisturbed run."""
        return self.directory / "undisturbed"

    @property
    def disturbed(self) -> Path:
        """Work directory of the killed run."""
        return self.directory / "disturbed"


@dataclasses.dataclass
class Pace:
    """Durations of the phases of a start, in seconds."""

    start: float = float("inf")  # until the first line of the log, the shortest so far
    compilation: float = 0.0  # compilation of the undisturbed run
    evaluation: float = 0.0  # one evaluation of the undisturbed run


def run_undisturbed(setting: Setting) -> Pace:
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


def run_with_kills(setting: Setting, kills: Sequence[Kill], pace: Pace) -> Iterator[Outcome]:
    """Makes the killed run. Yields each outcome once a later start has logged the step from which it continues.

    Raises:
      DrillError: processes do not end after a kill, or the run is finished before its last kill.
    """
    pending: list[Outcome] = []
    for kill in kills:
        watch = Watch(setting.disturbed, eval_every=EVAL_EVERY)
        outcome = _kill_once(setting, kill, watch, pace)
        if watch.continued_from is not None:
            yield from _resumed_at(pending, watch.continued_from)
            pending = []
        pending.append(outcome)
    watch = Watch(setting.disturbed, eval_every=EVAL_EVERY)
    with _start(setting, setting.disturbed, "last") as processes:
        _must_complete(processes, "the run after the last kill")
    yield from _resumed_at(pending, watch.continued_from or 0)


def steps_for(kills: Sequence[Kill]) -> int:
    """A number of steps that suffices for all kills, a multiple of the steps between evaluations."""
    room = {"train": 2 * INTERVAL + 1, "save": 2 * INTERVAL + 1, "evaluation": EVAL_EVERY + 1}
    needed = sum(room.get(kill.phase, 0) for kill in kills)
    return (needed // EVAL_EVERY + 2) * EVAL_EVERY


def _kill_once(setting: Setting, kill: Kill, watch: Watch, pace: Pace) -> Outcome:
    # Without the compilation cache, a start that is to be killed while it compiles does compile.
    name, cached = f"kill-{kill.number:02}", kill.phase != "compile"
    with _start(setting, setting.disturbed, name, cached=cached) as processes:
        _freeze_at(_Moment(kill, watch, pace), kill, watch, processes)
        outcome = Outcome(kill, watch.phase, watch.saved, watch.saving, watch.step)
        begin = time.monotonic()
        processes.send(kill.signal, kill.victims)
        processes.thaw()
        try:
            outcome.statuses = processes.wait(setting.deadline)
        except StillRunningError as error:
            raise DrillError(f"kill {kill.number}: {error}{_last_output(processes)}") from None
        outcome.seconds = time.monotonic() - begin
        outcome.outputs = [processes.output(index) for index in range(setting.processes)]
    return outcome


class _Moment:
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


def _freeze_at(moment: Callable[[], bool], kill: Kill, watch: Watch, processes: Processes) -> None:
    """Stops the processes (SIGSTOP) at the moment, and checks that the run is still in the phase of the kill."""
    while True:
        _until(moment, processes, f"kill {kill.number}")
        processes.freeze()
        if kill.phase in ("start", "compile", watch.phase):
            return
        processes.thaw()


def _until(condition: Callable[[], bool], processes: Processes, what: str) -> None:
    deadline = time.monotonic() + _RUN_TIMEOUT
    while not condition():
        if any(status is not None for status in processes.statuses()) or time.monotonic() > deadline:
            raise DrillError(f"{what}: the run ended or stalled before the moment of the kill{_last_output(processes)}")
        time.sleep(_POLL)


def _must_complete(processes: Processes, what: str) -> None:
    statuses = processes.wait(_RUN_TIMEOUT)
    if any(statuses):
        raise DrillError(f"{what} failed{_last_output(processes)}")


def _last_output(processes: Processes) -> str:
    """The exit status and the last output of each process, for the end of an error message."""
    ends = (processes.output(index)[-1000:] for index in range(len(processes.statuses())))
    pairs = zip(processes.statuses(), ends, strict=True)
    return "".join(f"\nprocess {index}, exit status {status}:\n{end}" for index, (status, end) in enumerate(pairs))


def _resumed_at(outcomes: Sequence[Outcome], resumed: int) -> list[Outcome]:
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
