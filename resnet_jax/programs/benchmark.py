"""Measures how fast this machine trains, and what limits it."""

import contextlib
import dataclasses
import datetime
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from resnet_jax import experiment as experiments
from resnet_jax.analysis.measure.end_to_end import measure_end_to_end
from resnet_jax.analysis.measure.first_step import measure_first_step
from resnet_jax.analysis.measure.loader import measure_loader
from resnet_jax.analysis.measure.step import measure_step
from resnet_jax.analysis.measure.windows import Windows
from resnet_jax.data.feed import cores, decoders
from resnet_jax.errors import UsageError
from resnet_jax.experiment import BenchmarkOptions, Experiment
from resnet_jax.files import check_writable, new_directories_removed_on_error, write_json
from resnet_jax.local_paths import local_path
from resnet_jax.programs.command import Command
from resnet_jax.reporting import provenance
from resnet_jax.reporting.bottleneck import advice, shares_line
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.time_accounting import TRAINING
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)

_MEASURES: dict[str, Callable[[Experiment, Windows], dict[str, Any]]] = {
    "step": measure_step,
    "loader": measure_loader,
    "together": measure_end_to_end,
}


def main(command: Command) -> int:
    """Runs --mode=benchmark; returns the exit status."""
    show_log()
    options, settings = experiments.benchmark_options(command.config), experiments.resolve(command.config)
    workdir = Workdir(command.workdir)
    directory = workdir.path / "benchmarks"
    with contextlib.nullcontext() if options.json else new_directories_removed_on_error(directory):
        path = local_path(options.json, name="config.benchmark.json") if options.json else record_path(directory)
        check_writable(path, key="config.benchmark.json")
        # `measure_first_step` starts child processes that need the devices, so it runs before this process uses them.
        first_step = measure_first_step(settings) if "first_step" in options.measurements else None
        return benchmark(experiments.build(command.config), options, first_step, settings=settings, path=path)


def benchmark(
    experiment: Experiment,
    options: BenchmarkOptions,
    first_step: Mapping[str, Any] | None,
    *,
    settings: Mapping[str, Any],
    path: Path,
) -> int:
    """Runs the measurements of the config, logs their results, and writes a JSON record.

    Args:
      experiment: the training run to measure.
      options: which measurements to run, and the number and length of the windows (ranges of steps) that are timed.
      first_step: result of `measure_first_step`; None if it was not run.
      settings: the resolved config, stored in the record.
      path: file of the record; an existing one is replaced.

    Returns:
      The exit status, 0.
    """
    _show({label: experiment.reporting.description[label] for label in ("devices", "data", "model")})
    windows = Windows(options.windows, options.window_steps, options.warmup_steps)
    count, steps, warmup = dataclasses.astuple(windows)
    text = f"medians of {count} windows of {steps} steps (smallest to largest), after {warmup} warm-up steps"
    _show({"method": text})
    found: dict[str, Any] = {} if first_step is None else {"first_step": first_step}
    _show(first_step_lines(first_step) if first_step else {})
    for name, measure in _MEASURES.items():
        if name in options.measurements:
            found[name] = measure(experiment, windows)
            _show(_LINES[name](found[name]))
    _show(_limit_lines(experiment, found))
    write_json(path, _about(experiment, windows) | {"measured": found, "config": settings})
    _show({"written": str(path)})
    return 0


def record_path(directory: Path) -> Path:
    """Creates `directory`; returns a path in it, named by the UTC time. Raises UsageError if it cannot be created."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be created ({error.strerror}): choose another --workdir, or name a file with "
            "config.benchmark.json"
        ) from None
    return directory / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H-%M-%S}.json"


def _about(experiment: Experiment, windows: Windows) -> dict[str, Any]:
    start = provenance.describe_start(0)
    del start["start_step"]
    return start | {
        "cores": cores(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "windows": dataclasses.asdict(windows),
        "dtype": experiment.computation.dtype,
        "data": experiment.data.identity,
    }


def _show(lines: Mapping[str, str]) -> None:
    for label, line in lines.items():
        logger.info(labelled(label, line))


def first_step_lines(found: Mapping[str, Any]) -> dict[str, str]:
    """Returns label -> log line with the time from process start to the end of the first step, divided into phases.

    Args:
      found: result of `measure_first_step`: one entry for an empty compile cache, one for a filled one.
    """
    return {
        f"first {name}": f"{run['seconds']:.1f} s until the first step was done: "
        + ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in run["parts"].items() if seconds >= 0.05)
        for name, run in found.items()
    }


def _figure(figures: Mapping[str, Any], unit: str) -> str:
    return f"{figures['median']:,.1f} {unit} ({figures['low']:,.1f} to {figures['high']:,.1f})"


def _step_lines(found: Mapping[str, Any]) -> dict[str, str]:
    rate, steps = found["images_per_second"], found["milliseconds_per_step"]
    lines = {
        "step": f"{_figure(rate, 'images/s')}, {steps['median']:,.2f} ms each, "
        f"batch {found['batch_size']:,} of {found['image_size']} px, compiled in {found['compile_seconds']:.1f} s",
        "program": f"{found['flops_per_image'] / 1e9:.4g} GFLOP per image (the model requires "
        f"{found['model_flops_per_image'] / 1e9:.4g}), {found['hbm_bytes_per_image'] / 1e6:.4g} MB per image",
    }
    if found["mfu"] is not None:
        lines["efficiency"] = (
            f"MFU {found['mfu']:.1%}, HFU {found['hfu']:.1%}, {found['share_of_bound']:.1%} of the roofline's "
            f"{found['images_per_second_bound']:,.0f} images/s"
        )
    if found["programs_compiled_later"]:
        lines["compiled"] = f"{found['programs_compiled_later']} programs while steps were timed, expected none"
    return lines


def _loader_lines(found: Mapping[str, Any]) -> dict[str, str]:
    each = found["images_per_cpu_second"]
    efficiency = "" if each is None else f", {each['median']:,.0f} per CPU-second"
    return {"loader": _figure(found["images_per_second"], "images/s") + efficiency}


def _together_lines(found: Mapping[str, Any]) -> dict[str, str]:
    training = {phase: found["seconds"].get(phase, 0.0) for phase in TRAINING}
    shares = {phase: seconds / sum(training.values()) for phase, seconds in training.items()}
    return {"together": f"{_figure(found['images_per_second'], 'images/s')}: {shares_line(shares)}"}


_LINES = {"step": _step_lines, "loader": _loader_lines, "together": _together_lines}


def _limit_lines(experiment: Experiment, found: Mapping[str, Any]) -> dict[str, str]:
    """Returns label -> log line on what limits the speed of training; {} if `together` was not measured.

    `together`, the end-to-end measurement, trains with the real input pipeline. It is compared with the training step
    alone and the loader alone, where those were measured.
    """
    if "together" not in found:
        return {}
    rate, lines = found["together"]["images_per_second"]["median"], {}
    shares = [
        f"{rate / found[name]['images_per_second']['median']:.0%} of the images/s of the {name} alone"
        for name in ("step", "loader")
        if name in found
    ]
    if shares:
        lines["share"] = f"together they reach {' and '.join(shares)}"
    spent = {phase: found["together"]["seconds"].get(phase, 0.0) for phase in TRAINING}
    reading = experiment.data.reading
    limit = advice(spent, source=reading.source, **decoders(reading.num_threads, reading.num_workers))
    return lines | ({"limit": limit} if limit else {})
