"""Predicts the steps, the memory and the least time of a training run by compiling its step; trains nothing."""

import logging
from typing import Any

import jax

from resnet_jax import experiment as experiments
from resnet_jax.analysis.run_forecast import RunForecast, make_forecast
from resnet_jax.analysis.step_cost import StepCost, compile_step_cost, scaled
from resnet_jax.analysis.topology import topology_devices
from resnet_jax.data.loader import Loader
from resnet_jax.experiment import Experiment
from resnet_jax.files import check_writable, write_json
from resnet_jax.local_paths import local_path
from resnet_jax.programs.command import Command
from resnet_jax.reporting import provenance
from resnet_jax.reporting.progress import show_log
from resnet_jax.text import duration, labelled

logger = logging.getLogger(__name__)


def main(command: Command) -> int:
    """Runs --mode=plan; returns the exit status."""
    show_log()
    options = experiments.plan_options(command.config)
    devices = None if options.topology is None else topology_devices(options.topology)
    built = experiments.build(command.config, devices=devices)
    return plan(built, topology=options.topology, json_path=options.json)


def plan(experiment: Experiment, *, topology: str | None = None, json_path: str | None = None) -> int:
    """Compiles the training step, and prints its costs and the evaluations and checkpoints of the run.

    Args:
      experiment: the training run; its mesh consists of the devices to compile for.
      topology: name of the topology to compile for, of TPUs or GPUs; None: the devices of this machine.
      json_path: file to which the same figures are written as JSON at the end; None: no file.

    Returns:
      The exit status, 0.

    Raises:
      UsageError: `json_path` cannot be written.
    """
    path = None if json_path is None else local_path(json_path, name="config.plan.json")
    if path:
        check_writable(path, key="config.plan.json")
    lines = {"topology": topology} if topology else {}
    forecast = make_forecast(experiment)
    views = {"views": experiment.reporting.views} if experiment.reporting.views else {}
    _show(lines | experiment.reporting.description | views | _forecast_lines(forecast))
    costs = {}
    for size in experiment.data.train_loader.image_sizes:
        _show({"compiling": f"for images of {size} pixels; a large network takes minutes"})
        costs[size] = compile_step_cost(experiment, size)
        _show(costs[size].as_lines())
    seconds = _seconds_bound(experiment.data.train_loader, experiment.milestones.total_steps, costs)
    if seconds is not None:
        _show({"time": f"at least {duration(seconds)} of training, without evaluations"})
    if path and jax.process_index() == 0:
        record = _record(experiment, forecast, costs)
        write_json(path, {"topology": topology, "seconds_bound": seconds} | record)
        _show({"written": str(path)})
    return 0


def _show(lines: dict[str, str]) -> None:
    for label, line in lines.items():
        logger.info(labelled(label, line))


def _forecast_lines(forecast: RunForecast) -> dict[str, str]:
    steps = [f"{step:,}" for step in forecast.evaluations]
    when = ", ".join(steps if len(steps) <= 5 else [*steps[:3], "...", steps[-1]])
    size, kept = forecast.checkpoint_bytes, forecast.kept_checkpoints
    return {
        "evaluations": f"{len(steps):,}: after step{'s' * (len(steps) > 1)} {when}",
        "checkpoints": f"{forecast.checkpoints:,} of {scaled(size, 'B')} are written, {kept} kept: "
        f"{scaled(kept * size, 'B')} on disk, plus one more while a checkpoint is being written",
    }


def _seconds_bound(loader: Loader, total_steps: int, costs: dict[int, StepCost]) -> float | None:
    """Returns a lower bound on the seconds of all training steps; None if device peaks or step costs are unknown."""
    edges = [0, *(min(until, total_steps) for until in loader.crop_stages.end_steps), total_steps]
    seconds = 0.0
    for crop, start, end in zip(loader.crop_stages.crops, edges, edges[1:], strict=False):
        bounds = costs[crop.size].time_bounds
        if bounds is None:
            return None
        seconds += bounds.bound * (end - start)
    return seconds


def _record(experiment: Experiment, forecast: RunForecast, costs: dict[int, StepCost]) -> dict[str, Any]:
    """Returns the plan as JSON values.

    Costs are listed for each image size of the run; those of the last size are repeated at the top level.
    """
    loader, computation, milestones = experiment.data.train_loader, experiment.computation, experiment.milestones
    by_size = {size: cost.as_json() for size, cost in costs.items()}
    last = loader.image_size_at(milestones.schedule_steps - 1)
    evaluations = forecast.evaluations
    return {
        "steps_per_epoch": milestones.steps_per_epoch,
        "total_steps": milestones.total_steps,
        "batch_size": loader.batch_size,
        "parts": computation.num_microbatches,
        "dtype": computation.dtype,
        "devices": computation.mesh.size,
        "device_kind": costs[last].device_kind,
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
