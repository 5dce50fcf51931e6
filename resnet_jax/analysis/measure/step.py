"""Measures the training step alone, on batches that are already on the devices."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from resnet_jax.analysis.measure.windows import Windows, rates, spread, time_windows, wall_clock
from resnet_jax.analysis.model_flops import model_flops_per_step
from resnet_jax.analysis.program_cost import ProgramCost, program_cost
from resnet_jax.analysis.roofline import PEAKS
from resnet_jax.analysis.step_cost import bound_experiment
from resnet_jax.data.batch import Batch
from resnet_jax.data.feed import device_batches
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_step, initial_state
from resnet_jax.reporting.compile_events import CompileCounter
from resnet_jax.training.state import TrainState

BATCHES = 4  # number of batches that the steps use in turn, so that none of them stays in the device's cache


def measure_step(experiment: Experiment, windows: Windows) -> dict[str, Any]:
    """Times the training step at the last image size of the schedule; returns JSON values.

    Raises:
      UsageError: the loss is not finite after the last window, so the times may differ from those of normal training.
    """
    loader, computation = experiment.data.train_loader, experiment.computation
    size = loader.image_size_at(experiment.milestones.schedule_steps - 1)
    start = wall_clock()
    step = compile_train_step(experiment, size)
    compile_seconds = wall_clock() - start
    cost = program_cost(step, num_microbatches=computation.num_microbatches)
    required = model_flops_per_step(experiment, size)
    runner = StepRunner(experiment, step, size)
    with CompileCounter() as compiled:
        compiled.expect_no_more()
        runner(windows.warmup_steps)
        seconds = time_windows(windows, runner, clock=wall_clock)
        recompiled = compiled.unexpected
    loss = runner.loss()
    if not np.isfinite(loss):
        raise UsageError(
            f"the loss is {loss} after {windows.total_steps} steps on random images: set a lower "
            "config.schedule.base_lr or fewer config.benchmark.windows"
        )
    batch_size = loader.batch_size
    return {
        "image_size": size,
        "batch_size": batch_size,
        "batches": BATCHES,
        "compile_seconds": compile_seconds,
        "programs_compiled_later": recompiled,
        "images_per_second": rates(seconds, windows.steps * batch_size),
        "images_per_second_per_device": rates(seconds, windows.steps * batch_size // computation.mesh.size),
        "milliseconds_per_step": spread([1000 * window / windows.steps for window in seconds]),
        "loss": loss,
        **_efficiency(experiment, cost, required, spread(seconds)["median"] / windows.steps),
    }


class StepRunner:
    """Runs training steps one after another and waits for the devices only after the last step."""

    def __init__(self, experiment: Experiment, step: Any, size: int):
        self._step, self._state = step, initial_state(experiment)
        batches = device_batches(_random_batches(experiment, size), mesh=experiment.computation.mesh)
        self._batches = itertools.cycle(list(batches))
        self._totals: Any = None

    def __call__(self, steps: int) -> None:
        """Runs the given number of steps and waits until the last one is computed."""
        for _ in range(steps):
            self._state, self._totals = self._step(self._state, next(self._batches))
        jax.block_until_ready(self._totals)

    @property
    def state(self) -> TrainState:
        """The training state after the latest step; the next step donates it."""
        return self._state

    def loss(self) -> float:
        """Returns the mean loss of the last batch; 0 if loss scaling skipped its update because of an overflow."""
        examples = jax.device_get(self._totals).examples
        return float(examples.loss) / float(examples.count) if examples.count else 0.0


def _random_batches(experiment: Experiment, size: int) -> Iterator[Batch[np.ndarray]]:
    """Yields batches of random pixels and labels, each with the examples of this process only.

    Constant images are not used, because a step may be faster on them.
    """
    random, loader = np.random.default_rng(0), experiment.data.train_loader
    rows = loader.batch_size // loader.process_count
    for _ in range(BATCHES):
        images = random.integers(0, 256, (rows, size, size, 3), np.uint8)
        yield Batch(images, random.integers(0, len(experiment.data.class_names), rows, np.int32), np.ones(rows, bool))


def _efficiency(
    experiment: Experiment, cost: ProgramCost, model_flops: float, seconds_per_step: float
) -> dict[str, Any]:
    """Returns costs per image, model and hardware FLOPs utilization ('mfu', 'hfu'), and the roofline bound.

    The utilizations and the bound are None if `PEAKS` does not list the device.

    Args:
      experiment: the experiment whose training step is measured.
      cost: costs of the compiled step on one device.
      model_flops: FLOPs per device that the network requires for a step.
      seconds_per_step: measured time of a step.
    """
    batch_size, devices = experiment.data.train_loader.batch_size, experiment.computation.mesh.devices
    record: dict[str, Any] = {
        "model_flops_per_image": model_flops * devices.size / batch_size,
        "flops_per_image": cost.flops * devices.size / batch_size,
        "hbm_bytes_per_image": cost.hbm_bytes * devices.size / batch_size,
        "peak_memory_bytes_per_device": cost.peak_memory,
        "mfu": None,
        "hfu": None,
        "images_per_second_bound": None,
        "share_of_bound": None,
    }
    peaks = PEAKS.get(devices.flat[0].device_kind)
    if peaks is None:
        return record
    peak, bound = peaks.flops(experiment.computation.dtype), bound_experiment(experiment, peaks, cost).bound
    return record | {
        "mfu": model_flops / seconds_per_step / peak,
        "hfu": cost.flops / seconds_per_step / peak,
        "images_per_second_bound": batch_size / bound,
        "share_of_bound": bound / seconds_per_step,
    }
