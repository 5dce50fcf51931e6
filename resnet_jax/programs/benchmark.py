"""The program that says how fast this machine trains, and what it waits for."""

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
from resnet_jax.files import check_writable, write_json
from resnet_jax.programs.command import Command
from resnet_jax.reporting import provenance
from resnet_jax.reporting.bottleneck import advice, shares_line
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.time_accounting import TRAINING
from resnet_jax.reporting.workdir import Workdir

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
    path = Path(options.json).expanduser() if options.json else record_path(workdir.path / "benchmarks")
    check_writable(path, key="config.benchmark.json")
    # Measured first, in processes of their own: this one has not taken the devices yet.
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
    """Measures what is asked for, prints a line of each, and writes the record.

    Args:
      experiment: what is measured.
      options: the measurements and their windows.
      first_step: what `measure_first_step` found; None: it was not asked for.
      settings: the resolved config, for the record.
      path: of the record; overwritten.

    Returns:
      The exit status, 0.
    """
    for part in ("devices", "data", "model"):
        logger.info("%-12s %s", part, experiment.description[part])
    windows = Windows(options.windows, options.window_steps, options.warmup_steps)
    logger.info(
        "%-12s medians of %d windows of %d steps (smallest to largest), after %d to warm up",
        "method",
        *dataclasses.astuple(windows),
    )
    found: dict[str, Any] = {} if first_step is None else {"first_step": first_step}
    _show(first_step_lines(first_step) if first_step else {})
    for part, measure in _MEASURES.items():
        if part in options.measurements:
            found[part] = measure(experiment, windows)
            _show(_LINES[part](found[part]))
    _show(_limit_lines(experiment, found))
    write_json(path, _about(experiment, windows) | {"measured": found, "config": settings})
    _show({"written": str(path)})
    return 0


def record_path(directory: Path) -> Path:
    """A file of this moment in a directory, which is made; raises UsageError if it cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be made ({error.strerror}): name another --workdir, or a file by config.benchmark.json"
        ) from None
    return directory / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H-%M-%S}.json"


def _about(experiment: Experiment, windows: Windows) -> dict[str, Any]:
    start = provenance.describe_start(0)
    del start["start_step"]
    return start | {
        "cores": cores(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "windows": dataclasses.asdict(windows),
        "dtype": experiment.dtype,
        "data": experiment.data,
    }


def _show(lines: Mapping[str, str]) -> None:
    for part, line in lines.items():
        logger.info("%-12s %s", part, line)


def first_step_lines(found: Mapping[str, Any]) -> dict[str, str]:
    """How long it took from the start of the program, by the state of the compile cache."""
    return {
        f"first {name}": f"{run['seconds']:.1f} s until the first step was done: "
        + ", ".join(f"{part} {seconds:.1f}" for part, seconds in run["parts"].items() if seconds >= 0.05)
        for name, run in found.items()
    }


def _figure(figures: Mapping[str, Any], unit: str) -> str:
    return f"{figures['median']:,.1f} {unit} ({figures['low']:,.1f} to {figures['high']:,.1f})"


def _step_lines(found: Mapping[str, Any]) -> dict[str, str]:
    rate, steps = found["images_per_second"], found["milliseconds_per_step"]
    lines = {
        "step": f"{_figure(rate, 'images/s')}, {steps['median']:,.2f} ms each, "
        f"batch {found['batch_size']:,} of {found['image_size']} px, compiled in {found['compile_seconds']:.1f} s",
        "program": f"{found['flops_per_image'] / 1e9:.4g} GFLOP, {found['hbm_bytes_per_image'] / 1e6:.4g} MB an image",
    }
    if found["mfu"] is not None:
        lines["efficiency"] = (
            f"MFU {found['mfu']:.1%}, {found['share_of_bound']:.1%} of the roofline's "
            f"{found['images_per_second_bound']:,.0f} images/s"
        )
    if found["programs_compiled_later"]:
        lines["compiled"] = f"{found['programs_compiled_later']} programs while steps were timed: there should be none"
    return lines


def _loader_lines(found: Mapping[str, Any]) -> dict[str, str]:
    each = found["images_per_cpu_second"]
    efficiency = "" if each is None else f", {each['median']:,.0f} per CPU-second"
    return {"loader": _figure(found["images_per_second"], "images/s") + efficiency}


def _together_lines(found: Mapping[str, Any]) -> dict[str, str]:
    training = {part: found["seconds"].get(part, 0.0) for part in TRAINING}
    shares = {part: seconds / sum(training.values()) for part, seconds in training.items()}
    return {"together": f"{_figure(found['images_per_second'], 'images/s')}: {shares_line(shares)}"}


_LINES = {"step": _step_lines, "loader": _loader_lines, "together": _together_lines}


def _limit_lines(experiment: Experiment, found: Mapping[str, Any]) -> dict[str, str]:
    """What holds the whole back, where the whole was measured."""
    if "together" not in found:
        return {}
    rate, lines = found["together"]["images_per_second"]["median"], {}
    shares = [
        f"{rate / found[part]['images_per_second']['median']:.0%} of the {part} alone"
        for part in ("step", "loader")
        if part in found
    ]
    if shares:
        lines["share"] = f"together they make {' and '.join(shares)}"
    spent = {part: found["together"]["seconds"].get(part, 0.0) for part in TRAINING}
    words = advice(spent, **decoders(experiment.num_threads, experiment.num_workers))
    return lines | ({"limit": words} if words else {})
