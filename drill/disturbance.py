"""The two runs of a drill: the undisturbed one, and the one that is killed and restarted."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from drill import leftovers, ways
from drill.kills import Kill, Outcome
from drill.launch import Processes, StillRunningError, cpu_environment, fingerprint
from drill.moments import INTERVAL, Moment, Pace
from drill.rules import problems
from drill.watching import Watch
from drill.ways import damage_newest

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
    "log.trackers": (),
}
_JOIN_TIMEOUT = 30  # seconds that processes wait for each other at a start
_STALL_TIMEOUT = 45  # seconds after which a process counts as stopped; more than `ways.PAUSE`
PAUSE_STEPS = 10  # more steps than a run makes between the end of a pause and its SIGTERM
_POLL = 0.002  # seconds between observations of a run
_RUN_TIMEOUT = 1800.0  # seconds, more than a start of a run takes until its kill
_STEP_TIMEOUT = 2.0  # seconds, more than a step of a run that must complete takes on a slow, busy machine


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
    program: str  # hash of the files of the program, from `launch.fingerprint`

    @property
    def undisturbed(self) -> Path:
        """Work directory of the undisturbed run."""
        return self.directory / "undisturbed"

    @property
    def disturbed(self) -> Path:
        """Work directory of the killed run."""
        return self.directory / "disturbed"


def run_undisturbed(setting: Setting) -> Pace:
    """Makes the undisturbed run, from its beginning. Raises DrillError if it fails."""
    shutil.rmtree(setting.undisturbed, ignore_errors=True)  # of a drill that was interrupted
    pace, begin = Pace(), time.monotonic()
    watch = Watch(setting.undisturbed, eval_every=EVAL_EVERY)
    with _start(setting, setting.undisturbed, "undisturbed") as processes:
        _until(lambda: watch.began, processes, "the undisturbed run")
        pace.start = time.monotonic() - begin
        _must_complete(processes, "the undisturbed run", setting.steps)
    seconds = json.loads((setting.undisturbed / "result.json").read_text())["seconds"]
    pace.compilation = seconds["compile"]
    pace.evaluation = seconds["eval"] / (setting.steps // EVAL_EVERY)
    return pace


def run_with_kills(setting: Setting, kills: Sequence[Kill], pace: Pace) -> Iterator[Outcome]:
    """Makes the killed run. Yields each outcome once a later start has logged the step from which it continues.

    Raises:
      DrillError: two kills in succession cannot be made, the run fails after its last kill, or the program changes.
    """
    pending: list[Outcome] = []
    damaged: set[int] = set()
    for kill in kills:
        if fingerprint() != setting.program:
            raise DrillError("the files of the program have changed since the drill began: begin a new one")
        watch = Watch(setting.disturbed, eval_every=EVAL_EVERY, damaged=damaged)
        outcome = _kill_once(setting, kill, watch, pace)
        if watch.continued_from is not None:
            yield from _resumed_at(pending, watch.continued_from)
            pending = []
            damaged.clear()  # the start has moved them aside
        if outcome.failure and pending and pending[-1].failure:
            raise DrillError(f"kill {kill.number}: {outcome.failure}")
        if kill.way == "damage" and not outcome.failure:
            outcome.saved = damage_newest(setting.disturbed / "checkpoints", kill.moment)
            damaged |= _newer_checkpoints(setting, outcome.saved)
        pending.append(outcome)
    watch = Watch(setting.disturbed, eval_every=EVAL_EVERY)
    with _start(setting, setting.disturbed, "last") as processes:
        _must_complete(processes, "the run after the last kill", setting.steps)
    yield from _resumed_at(pending, watch.continued_from or 0)


def _newer_checkpoints(setting: Setting, saved: int | None) -> set[int]:
    """Returns the steps of the checkpoints that are newer than `saved`, the newest undamaged one."""
    names = (path.name for path in (setting.disturbed / "checkpoints").glob("*"))
    return {int(name) for name in names if name.isdigit() and int(name) > (saved or 0)}


def steps_for(kills: Sequence[Kill]) -> int:
    """A number of steps that suffices for all kills, a multiple of the steps between evaluations."""
    room = {"train": 2 * INTERVAL + 1, "save": 2 * INTERVAL + 1, "evaluation": EVAL_EVERY + 1}
    needed = sum(room.get(kill.phase, 0) + (PAUSE_STEPS if kill.way == "paused" else 0) for kill in kills)
    return (needed // EVAL_EVERY + 5) * EVAL_EVERY  # some more, if the drill is interrupted


def _kill_once(setting: Setting, kill: Kill, watch: Watch, pace: Pace) -> Outcome:
    name, mark = f"kill-{kill.number:03}", uuid.uuid4().hex
    begin = time.monotonic()
    # Without the compilation cache, a start that is to be killed while it compiles does compile.
    with _start(setting, setting.disturbed, name, kill=kill, mark=mark) as processes:
        try:
            _freeze_at(Moment(kill, watch, pace), kill, watch, processes)
            outcome = Outcome(kill, watch.phase, watch.saved, watch.saving, watch.step)
            begin = time.monotonic()
            ways.make(kill, processes, watch, deadline=setting.deadline)
        except DrillError as error:
            outcome = Outcome(kill, watch.phase, watch.saved, watch.saving, watch.step, failure=str(error))
        except (StillRunningError, ways.NoVictimError) as error:
            outcome.failure = f"{error}{_last_output(processes)}"
        outcome.seconds, outcome.statuses = time.monotonic() - begin, processes.statuses()
        outcome.outputs = [processes.output(index) for index in range(len(outcome.statuses))]
    outcome.leftovers = leftovers.wait_until_gone(mark, seconds=setting.deadline)
    for number in leftovers.marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    return outcome


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


def _must_complete(processes: Processes, what: str, steps: int) -> None:
    statuses = processes.wait(_RUN_TIMEOUT + steps * _STEP_TIMEOUT)
    if any(statuses):
        raise DrillError(f"{what} failed{_last_output(processes)}")


def _last_output(processes: Processes) -> str:
    """The exit status and the last output of each process, for the end of an error message."""
    ends = (processes.output(index)[-1000:] for index in range(len(processes.statuses())))
    pairs = zip(processes.statuses(), ends, strict=True)
    return "".join(f"\nprocess {index}, exit status {status}:\n{end}" for index, (status, end) in enumerate(pairs))


def _resumed_at(outcomes: Sequence[Outcome], resumed: int) -> list[Outcome]:
    complete = [dataclasses.replace(outcome, resumed=resumed) for outcome in outcomes]
    return [dataclasses.replace(outcome, problems=problems(outcome, interval=INTERVAL)) for outcome in complete]


def _start(setting: Setting, workdir: Path, name: str, *, kill: Kill | None = None, mark: str = "") -> Processes:
    settings = RECIPE | {"train.total_steps": setting.steps, "data.num_workers": kill.workers if kill else 0}
    arguments = ["--config=configs/digits.py", f"--workdir={workdir}"]
    arguments += [f"--config.{key}={value}" for key, value in settings.items()]
    if setting.processes > 1:
        arguments += [f"--join_timeout={_JOIN_TIMEOUT}", f"--stall_timeout={_STALL_TIMEOUT}"]
    environment = cpu_environment(
        devices=setting.devices,
        TFDS_DATA_DIR=setting.directory / "data",
        JAX_COMPILATION_CACHE_DIR=setting.directory / "cache",
        JAX_ENABLE_COMPILATION_CACHE=str(kill is None or kill.phase != "compile").lower(),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
        **{leftovers.MARK: mark},
    )
    outputs = setting.directory / "outputs" / name
    return Processes(
        arguments,
        count=setting.processes,
        outputs=outputs,
        environment=environment,
        as_group=kill is not None and kill.way == "group",
    )
