"""Trains a ResNet, or does with one what --mode says: eval, predict, export, plan, benchmark, prepare.

python main.py --config=configs/resnet50.py [--workdir=DIR] [--config.section.key=value ...]
python main.py --workdir=DIR --mode=predict IMAGE FOLDER ...   (the config is that of the run in DIR)
"""

import contextlib
import logging as stdlib_logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from configs import default
from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.signals import Signals
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError, disk_full_as_usage_error
from resnet_jax.programs import command_line
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.run_record import summary
from resnet_jax.reporting.workdir import Workdir

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run is kept; default: runs/<name of the config file>.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval", "predict", "export", "plan", "benchmark", "prepare"], "What to do."
)
# Of a run on several hosts; found by itself on TPU pods, GKE, Slurm and Open MPI (docs/scaling.md).
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, the same for all processes.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many there are; 1: this one alone.", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)
_JOIN_TIMEOUT = flags.DEFINE_float("join_timeout", 300.0, "Seconds to wait for the other processes.", lower_bound=0.1)

_LOCK_PATIENCE = 150.0  # seconds; a network file system forgets a machine that is gone after a minute or two
_RUN_AGAIN = {"train": "to continue", "prepare": "to begin anew"}


def main(argv: list[str]) -> None:
    """Runs one mode and exits with its status."""
    if not any(arg.startswith("--verbosity") for arg in sys.argv):
        logging.set_verbosity(logging.FATAL)  # Orbax logs what it also raises, and much more
        stdlib_logging.getLogger("jax").setLevel(stdlib_logging.WARNING)  # as that a GPU cannot be used
    try:
        if len(argv) > 1 and _MODE.value != "predict":
            raise UsageError(f"{argv[1]!r} is no flag: flags begin with --, as --config.data.batch_size=256")
        if _CONFIG.value is None:
            raise UsageError(command_line.NO_CONFIG)
        with disk_full_as_usage_error(_again()):
            status = _MODES[_MODE.value](argv[1:])
    except UsageError as error:
        command_line.fail(str(error), error.exit_status)
    except BrokenPipeError:  # whoever reads the answers has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    sys.exit(status)


def train(_: list[str]) -> int:
    """Trains, or says that there is nothing left to do; returns the exit status."""
    workdir = Workdir(_WORKDIR.value or default_workdir())
    with _at_work_in(workdir) as (channel, requests):
        # Imported once the command line is known to be good: they take seconds.
        from resnet_jax import experiment  # noqa: PLC0415
        from resnet_jax.experiment.compile import keep_programs  # noqa: PLC0415
        from resnet_jax.programs.run_identity import check_same_run  # noqa: PLC0415
        from resnet_jax.programs.train import train as run  # noqa: PLC0415
        from resnet_jax.reporting.time_accounting import TimeAccounting, process_age  # noqa: PLC0415

        accounting = TimeAccounting(age=process_age())
        settings = experiment.resolve(_CONFIG.value)
        if channel.is_main:
            defaults = experiment.resolve(default.get_config())
            workdir.check(settings, may_change=experiment.MAY_CHANGE, defaults=defaults)
        result = workdir.finished(settings) if channel.is_main else None
        check_same_run(channel, settings, workdir)
        if channel.gather("finished" if result else "")[0]:
            if result:
                print(f"Nothing to do: this run is finished, step {result['step']} of {result['total_steps']}.")
                print(*summary(result, workdir), sep="\n")
            return 0
        with accounting.measure("start"), channel.first():  # it may have to index the data, or prepare them
            built = experiment.build(_CONFIG.value, cache_dir=workdir.path)
        keep_programs()
        return run(built, workdir, settings, requests, channel, accounting)


def evaluate(_: list[str]) -> int:
    """Evaluates a checkpoint of a run; returns the exit status."""
    workdir = Workdir(_WORKDIR.value or default_workdir())
    which = _CONFIG.value.eval.checkpoint
    with _at_work_in(workdir, must_hold_a_run=which in ("latest", "best") or which.isdigit()) as (channel, requests):
        from resnet_jax import experiment  # noqa: PLC0415
        from resnet_jax.experiment.compile import keep_programs  # noqa: PLC0415
        from resnet_jax.programs.evaluation.evaluate import evaluate as run  # noqa: PLC0415
        from resnet_jax.programs.run_identity import check_same_run  # noqa: PLC0415

        settings = experiment.resolve(_CONFIG.value)
        if channel.is_main:
            defaults = experiment.resolve(default.get_config())
            workdir.check(settings, may_change=experiment.EVALUATION_MAY_CHANGE, defaults=defaults)
        check_same_run(channel, settings, workdir)
        with channel.first():
            built = experiment.build(_CONFIG.value, cache_dir=workdir.path, training=False)
        keep_programs()
        return run(built, workdir, requests, channel)


def plan(_: list[str]) -> int:
    """Says what a run will do and need; returns the exit status."""
    _check_alone()
    show_log()
    from resnet_jax import experiment  # noqa: PLC0415
    from resnet_jax.analysis.tpu_topology import topology_devices  # noqa: PLC0415
    from resnet_jax.programs.plan import plan  # noqa: PLC0415

    topology, json_path = _CONFIG.value.plan.topology, _CONFIG.value.plan.json
    devices = None if topology is None else topology_devices(topology)
    built = experiment.build(_CONFIG.value, devices=devices)
    return plan(built, topology=topology, json_path=json_path)


def benchmark(_: list[str]) -> int:
    """Measures how fast this machine trains; returns the exit status."""
    _check_alone()
    show_log()
    from resnet_jax import experiment  # noqa: PLC0415
    from resnet_jax.analysis.measure.first_step import measure_first_step  # noqa: PLC0415
    from resnet_jax.files import check_writable  # noqa: PLC0415
    from resnet_jax.programs.benchmark import benchmark as run  # noqa: PLC0415
    from resnet_jax.programs.benchmark import record_path  # noqa: PLC0415

    request, settings = experiment.benchmark_requested(_CONFIG.value), experiment.resolve(_CONFIG.value)
    workdir = Workdir(_WORKDIR.value or default_workdir())
    path = Path(request.json).expanduser() if request.json else record_path(workdir.path / "benchmarks")
    check_writable(path, key="config.benchmark.json")
    first_step = None
    if "first_step" in request.parts:  # before this process takes the devices
        first_step = measure_first_step(settings, Path(__file__).resolve())
    built = experiment.build(_CONFIG.value)
    return run(built, request, first_step, settings=settings, path=path)


def predict(places: list[str]) -> int:
    """Says what is in images; returns the exit status."""
    show_log(stream=sys.stderr)  # stdout is for the answers
    command_line.pass_any_names()
    from resnet_jax.data.sources.files import list_images  # noqa: PLC0415
    from resnet_jax.programs.predict import Wanted  # noqa: PLC0415
    from resnet_jax.programs.predict import predict as run  # noqa: PLC0415

    wanted = Wanted(**_CONFIG.value.predict)
    paths = list_images(places, sys.stdin or ())
    return run(*_chosen_network(), paths, wanted)


def export(_: list[str]) -> int:
    """Writes files that serve without this program; returns the exit status."""
    show_log()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is half made is removed
    from resnet_jax.programs.export.export import check_request  # noqa: PLC0415
    from resnet_jax.programs.export.export import export as run  # noqa: PLC0415
    from resnet_jax.weights.select import selected_path  # noqa: PLC0415

    options, workdir = _CONFIG.value.export, Workdir(_WORKDIR.value or default_workdir())
    weights = _CONFIG.value.eval
    found = Path(selected_path(weights.checkpoint, workdir.checkpoints)).expanduser().resolve()
    name = "-".join(filter(None, [found.name.removesuffix(".safetensors").removesuffix(".pth"), weights.weights]))
    directory = Path(options.dir).expanduser() if options.dir else workdir.path / "exports" / name
    check_request(directory, options.formats)
    return run(*_chosen_network(dtype=options.dtype, alone=True), directory, options.formats)


def _chosen_network(*, dtype: str | None = None, alone: bool = False) -> tuple:
    """The network that --config and --workdir name, its weights, and the names of its outputs.

    With `alone` on one device, as those who are served compute: over several, bfloat16 rounds otherwise.
    """
    _check_alone()
    import jax  # noqa: PLC0415

    from resnet_jax import experiment  # noqa: PLC0415
    from resnet_jax.weights.select import outputs_and_names, read_selected, select_weights  # noqa: PLC0415

    workdir = Workdir(_WORKDIR.value or default_workdir())
    request = experiment.requested(_CONFIG.value)
    stored = read_selected(request.checkpoint, workdir.checkpoints, kind=request.weights)
    num_classes, names = outputs_and_names(
        stored, num_classes=request.num_classes, class_names_file=request.class_names_file
    )
    devices = jax.devices()[:1] if alone else None
    inference = experiment.build_inference(_CONFIG.value, num_classes=num_classes, dtype=dtype, devices=devices)
    selected = select_weights(stored, inference.shapes, network=inference.network, any_input=request.any_input)
    return inference, selected, names


@contextlib.contextmanager
def _at_work_in(workdir: Workdir, *, must_hold_a_run: bool = False) -> Iterator[tuple[Channel, StopRequests]]:
    """Joins the processes of the run, if there are others, and keeps those of other runs out of the directory."""
    show_log()
    requests = StopRequests()
    with Signals(requests.ask), _joined(requests) as channel, disk_full_as_usage_error(_again()):
        if must_hold_a_run:
            workdir.must_hold_a_run()
        patience = _LOCK_PATIENCE if channel.num_processes > 1 else 0.0
        with workdir.lock(patience=patience) if channel.is_main else contextlib.nullcontext():
            yield channel, requests


@contextlib.contextmanager
def _joined(requests: StopRequests) -> Iterator[Channel]:
    """Waits for the other processes; what signals ask for is for all of them from then on."""
    from resnet_jax.distributed import cluster  # noqa: PLC0415  it loads JAX
    from resnet_jax.distributed.rendezvous import connect_all  # noqa: PLC0415

    timeout = _JOIN_TIMEOUT.value
    given = {"coordinator": _COORDINATOR.value, "num_processes": _NUM_PROCESSES.value}
    place = cluster.detect_process(**given, process_id=_PROCESS_ID.value, timeout=timeout)
    if place is None:
        yield Channel()
        return
    if place.process_id > 0:
        show_log(level=stdlib_logging.WARNING)
    with Channel(connect_all(place, timeout=timeout), process_id=place.process_id) as channel:
        requests.connect(channel)  # before JAX, which does not end well where a process is gone
        cluster.initialize_jax(place, timeout=timeout)
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
    if Path(path).stem == "run":
        return Path(argument)
    return Path("runs", "-".join(filter(None, [Path(path).stem, argument])))


def prepare(_: list[str]) -> int:
    """Prepares ImageNet from its archives, or says that it is prepared; returns the exit status."""
    _check_alone()
    show_log()
    from resnet_jax.programs.prepare.prepare import prepare as run  # noqa: PLC0415

    return run(data_dir=_CONFIG.value.data.data_dir, **_CONFIG.value.prepare)


def _again() -> str:
    """What the same command would do if it were run again."""
    return _RUN_AGAIN.get(_MODE.value, f"to {_MODE.value}")


_MODES = {
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "export": export,
    "plan": plan,
    "benchmark": benchmark,
    "prepare": prepare,
}

if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
