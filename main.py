"""Trains a ResNet, evaluates a checkpoint (--mode=eval), plans (--mode=plan) or prepares ImageNet (--mode=prepare).

python main.py --config=configs/resnet50.py [--workdir=DIR] [--config.section.key=value ...]
"""

import contextlib
import logging as stdlib_logging
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from resnet_jax import command_line
from resnet_jax.channel import Channel
from resnet_jax.errors import UsageError, full_disks_said
from resnet_jax.progress import show_log
from resnet_jax.signals import Signals
from resnet_jax.stopping import Requests
from resnet_jax.summary import summary
from resnet_jax.workdir import Workdir

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run is kept; default: runs/<name of the config file>.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval", "plan", "prepare"], "What to do.")
# Of a run on several hosts; found by itself on TPU pods, GKE, Slurm and Open MPI (docs/scaling.md).
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, the same for all processes.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many there are; 1: this one alone.", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)
_JOIN_TIMEOUT = flags.DEFINE_float("join_timeout", 300.0, "Seconds to wait for the other processes.", lower_bound=0.1)

_LOCK_PATIENCE = 150.0  # seconds; a network file system forgets a machine that is gone after a minute or two
_RUN_AGAIN = {"train": "to continue", "eval": "to evaluate", "plan": "to plan", "prepare": "to begin anew"}


def main(argv: list[str]) -> None:
    """Runs one mode and exits with its status."""
    if not any(arg.startswith("--verbosity") for arg in sys.argv):
        logging.set_verbosity(logging.FATAL)  # Orbax logs what it also raises, and much more
        stdlib_logging.getLogger("jax").setLevel(stdlib_logging.WARNING)  # as that a GPU cannot be used
    try:
        if len(argv) > 1:
            raise UsageError(f"{argv[1]!r} is no flag: flags begin with --, as --config.data.batch_size=256")
        if _CONFIG.value is None:
            raise UsageError("--config is missing, as --config=configs/resnet50.py")
        with full_disks_said(_RUN_AGAIN[_MODE.value]):
            status = {"train": train, "eval": evaluate, "plan": plan, "prepare": prepare}[_MODE.value]()
    except UsageError as error:
        command_line.fail(str(error), error.exit_status)
    sys.exit(status)


def train() -> int:
    """Trains, or says that there is nothing left to do; returns the exit status."""
    workdir = Workdir(_WORKDIR.value or default_workdir())
    with _at_work_in(workdir) as (channel, requests):
        # Imported once the command line is known to be good: they take seconds.
        from resnet_jax import experiment  # noqa: PLC0415
        from resnet_jax.same_run import check_same_run  # noqa: PLC0415
        from resnet_jax.train import train as run  # noqa: PLC0415

        settings = experiment.resolve(_CONFIG.value)
        if channel.is_main:
            workdir.check(settings, may_change=experiment.MAY_CHANGE)
        result = workdir.finished(settings) if channel.is_main else None
        check_same_run(channel, settings, workdir)
        if channel.gather("finished" if result else "")[0]:
            if result:
                print(f"Nothing to do: this run is finished, step {result['step']} of {result['total_steps']}.")
                print(*summary(result, workdir), sep="\n")
            return 0
        with channel.first():  # it may have to index the data, or prepare them
            built = experiment.build(_CONFIG.value, cache_dir=workdir.path)
        return run(built, workdir, settings, requests, channel)


def evaluate() -> int:
    """Evaluates a checkpoint of a run; returns the exit status."""
    workdir = Workdir(_WORKDIR.value or default_workdir())
    with _at_work_in(workdir, must_hold_a_run=True) as (channel, requests):
        from resnet_jax import experiment  # noqa: PLC0415
        from resnet_jax.evaluate import evaluate as run  # noqa: PLC0415
        from resnet_jax.same_run import check_same_run  # noqa: PLC0415

        settings = experiment.resolve(_CONFIG.value)
        if channel.is_main:
            workdir.check(settings, may_change=experiment.EVALUATION_MAY_CHANGE)
        check_same_run(channel, settings, workdir)
        with channel.first():
            built = experiment.build(_CONFIG.value, cache_dir=workdir.path, training=False)
        return run(built, workdir, requests, channel)


def plan() -> int:
    """Says what a run will do and need; returns the exit status."""
    _check_alone()
    show_log()
    from resnet_jax import experiment  # noqa: PLC0415
    from resnet_jax.plan_run import plan_run  # noqa: PLC0415
    from resnet_jax.topology import topology_devices  # noqa: PLC0415

    topology, json_path = _CONFIG.value.plan.topology, _CONFIG.value.plan.json
    devices = None if topology is None else topology_devices(topology)
    built = experiment.build(_CONFIG.value, devices=devices)
    return plan_run(built, topology=topology, json_path=json_path)


@contextlib.contextmanager
def _at_work_in(workdir: Workdir, *, must_hold_a_run: bool = False) -> Iterator[tuple[Channel, Requests]]:
    """Joins the processes of the run, if there are others, and keeps those of other runs out of the directory."""
    show_log()
    requests = Requests()
    with Signals(requests.ask), _joined(requests) as channel, full_disks_said(_RUN_AGAIN[_MODE.value]):
        if must_hold_a_run:
            workdir.must_hold_a_run()
        patience = _LOCK_PATIENCE if channel.num_processes > 1 else 0.0
        with workdir.lock(patience=patience) if channel.is_main else contextlib.nullcontext():
            yield channel, requests


@contextlib.contextmanager
def _joined(requests: Requests) -> Iterator[Channel]:
    """Waits for the other processes; what signals ask for is for all of them from then on."""
    from resnet_jax import cluster  # noqa: PLC0415  it loads JAX
    from resnet_jax.rendezvous import meet  # noqa: PLC0415

    timeout = _JOIN_TIMEOUT.value
    given = {"coordinator": _COORDINATOR.value, "num_processes": _NUM_PROCESSES.value}
    place = cluster.find_place(**given, process_id=_PROCESS_ID.value, timeout=timeout)
    if place is None:
        yield Channel()
        return
    if place.process_id > 0:
        show_log(level=stdlib_logging.WARNING)
    with Channel(meet(place, timeout=timeout), process_id=place.process_id) as channel:
        requests.connect(channel)  # before JAX, which does not end well where a process is gone
        cluster.connect(place, timeout=timeout)
        yield channel


def _check_alone() -> None:
    """Raises UsageError if several processes are wanted of a mode that is made by one."""
    if _COORDINATOR.value or _PROCESS_ID.value is not None or (_NUM_PROCESSES.value or 1) > 1:
        raise UsageError(
            f"--mode={_MODE.value} is for one process: leave out --coordinator, --num_processes and --process_id"
        )


def default_workdir() -> Path:
    """runs/<name of the config file>, with its argument if it has one: 'runs/resnet50_fast-32'."""
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    path, _, argument = name.partition(":")
    return Path("runs", "-".join(filter(None, [Path(path).stem, argument])))


def prepare() -> int:
    """Prepares ImageNet from its archives, or says that it is prepared; returns the exit status."""
    _check_alone()
    show_log()
    from resnet_jax.prepare import prepare as run  # noqa: PLC0415

    return run(data_dir=_CONFIG.value.data.data_dir, **_CONFIG.value.prepare)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
