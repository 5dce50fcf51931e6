"""The program that says what a run will do and need; nothing is trained."""

import logging
from pathlib import Path
from typing import Any

import jax

from resnet_jax import experiment as experiments
from resnet_jax.analysis.run_forecast import RunForecast, make_forecast
from resnet_jax.analysis.step_cost import StepCost, find_step_cost, scaled
from resnet_jax.analysis.tpu_topology import topology_devices
from resnet_jax.data.loader import Loader
from resnet_jax.experiment import Experiment
from resnet_jax.files import check_writable, write_json
from resnet_jax.programs.command import Command
from resnet_jax.reporting import provenance
from resnet_jax.reporting.bottleneck import duration
from resnet_jax.reporting.progress import show_log

logger = logging.getLogger(__name__)


def main(command: Command) -> int:
    """Runs --mode=plan; returns the exit status."""
    show_log()
    options = experiments.plan_options(command.config)
    devices = None if options.topology is None else topology_devices(options.topology)
    built = experiments.build(command.config, devices=devices)
    return plan(built, topology=options.topology, json_path=options.json)


def plan(experiment: Experiment, *, topology: str | None = None, json_path: str | None = None) -> int:
    """Compiles the training step and prints what it needs, and what the run will come to.

    Args:
      experiment: built for the devices that are to be looked at.
      topology: the name of those devices, if they need not be there.
      json_path: file for the same as JSON; it appears when all is known.

    Returns:
      The exit status, 0.

    Raises:
      UsageError: the file cannot be written.
    """
    path = None if json_path is None else Path(json_path).expanduser()
    if path:
        check_writable(path, key="config.plan.json")
    lines = {"topology": topology} if topology else {}
    forecast = make_forecast(experiment)
    _show(lines | experiment.description | _forecast_lines(forecast))
    needs = {}
    for size in experiment.train_loader.image_sizes:
        logger.info("compiling    for images of %d pixels: minutes, where the network is large", size)
        needs[size] = find_step_cost(experiment, size)
        _show(needs[size].as_lines())
    seconds = _least_seconds(experiment.train_loader, experiment.plan.total_steps, needs)
    if seconds is not None:
        _show({"time": f"at least {duration(seconds)} of training, evaluations aside"})
    if path and jax.process_index() == 0:
        record = _record(experiment, forecast, needs)
        write_json(path, {"topology": topology, "seconds_bound": seconds} | record)
        logger.info("%-12s %s", "written", path)
    return 0


def _show(lines: dict[str, str]) -> None:
    for part, line in lines.items():
        logger.info("%-12s %s", part, line)


def _forecast_lines(forecast: RunForecast) -> dict[str, str]:
    steps = [f"{step:,}" for step in forecast.evaluations]
    when = ", ".join(steps if len(steps) <= 5 else [*steps[:3], "...", steps[-1]])
    size, kept = forecast.checkpoint_bytes, forecast.kept_checkpoints
    return {
        "evaluations": f"{len(steps):,}: after step{'s' * (len(steps) > 1)} {when}",
        "checkpoints": f"{forecast.checkpoints:,} of {scaled(size, 'B')} are written, {kept} kept: "
        f"{scaled(kept * size, 'B')} of disk, and as much as one more while the next is written",
    }


def _least_seconds(loader: Loader, total_steps: int, needs: dict[int, StepCost]) -> float | None:
    """The least time of all steps of a run; None: unknown."""
    edges = [0, *(min(until, total_steps) for until in loader.crop_stages.end_steps), total_steps]
    seconds = 0.0
    for crop, start, end in zip(loader.crop_stages.crops, edges, edges[1:], strict=False):
        least = needs[crop.size].least_time
        if least is None:
            return None
        seconds += least.bound * (end - start)
    return seconds


def _record(experiment: Experiment, forecast: RunForecast, needs: dict[int, StepCost]) -> dict[str, Any]:
    """The plan in JSON values; what belongs to an image size is also given by itself for the last one."""
    plan, by_size = experiment.plan, {size: need.as_json() for size, need in needs.items()}
    last = experiment.train_loader.image_size_at(plan.schedule_steps - 1)
    evaluations = forecast.evaluations
    return {
        "steps_per_epoch": plan.steps_per_epoch,
        "total_steps": plan.total_steps,
        "batch_size": experiment.train_loader.batch_size,
        "parts": experiment.parts,
        "dtype": experiment.dtype,
        "devices": experiment.mesh.size,
        "device_kind": needs[last].device_kind,
        "evaluations": {"count": len(evaluations), "first": evaluations[0], "last": evaluations[-1]},
        "checkpoints": {
            "count": forecast.checkpoints,
            "bytes": forecast.checkpoint_bytes,
            "kept": forecast.kept_checkpoints,
            "kept_bytes": forecast.kept_checkpoints * forecast.checkpoint_bytes,
        },
        "image_size": last,
        **by_size[last],
        "image_sizes": {str(size): values for size, values in by_size.items()},
        "versions": provenance.versions(),
    }
