"""The training step alone, on batches that are on the devices already."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from resnet_jax.analysis.measure.windows import Windows, rates, spread, time_windows, wall_clock
from resnet_jax.analysis.program_cost import ProgramCost, program_cost
from resnet_jax.analysis.roofline import PEAKS, least_time
from resnet_jax.data.batch import Batch
from resnet_jax.data.feed import device_batches
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_step, initial_state
from resnet_jax.reporting.compile_events import CompileCounter

BATCHES = 4  # that take turns, so that no cache holds one


def measure_step(experiment: Experiment, windows: Windows) -> dict[str, Any]:
    """Times the step at the last image size of the training.

    Raises:
      UsageError: the loss is not finite after all windows: such steps are not what is to be measured.
    """
    size = experiment.train_loader.image_size_at(experiment.plan.schedule_steps - 1)
    start = wall_clock()
    step = compile_train_step(experiment, size)
    compile_seconds = wall_clock() - start
    cost = program_cost(step, parts=experiment.parts)
    runner = StepRunner(experiment, step, size)
    with CompileCounter() as compiled:
        compiled.expect_no_more()
        runner(windows.warmup_steps)
        seconds = time_windows(windows, runner, clock=wall_clock)
        recompiled = compiled.unexpected
    loss = runner.loss()
    if not np.isfinite(loss):
        raise UsageError(
            f"the loss is {loss} after {windows.total_steps} steps on random images: take a lower "
            "config.schedule.base_lr, or fewer config.benchmark.windows"
        )
    batch_size = experiment.train_loader.order.batch_size
    return {
        "image_size": size,
        "batch_size": batch_size,
        "batches": BATCHES,
        "compile_seconds": compile_seconds,
        "programs_compiled_later": recompiled,
        "images_per_second": rates(seconds, windows.steps * batch_size),
        "images_per_second_per_device": rates(seconds, windows.steps * batch_size // experiment.mesh.size),
        "milliseconds_per_step": spread([1000 * window / windows.steps for window in seconds]),
        "loss": loss,
        **_efficiency(experiment, cost, spread(seconds)["median"] / windows.steps),
    }


class StepRunner:
    """Makes steps, and waits only after the last."""

    def __init__(self, experiment: Experiment, step: Any, size: int):
        self._step, self._state = step, initial_state(experiment)
        self._batches = itertools.cycle(list(device_batches(_random_batches(experiment, size), mesh=experiment.mesh)))
        self._totals: Any = None

    def __call__(self, steps: int) -> None:
        """Makes so many."""
        for _ in range(steps):
            self._state, self._totals = self._step(self._state, next(self._batches))
        jax.block_until_ready(self._totals)

    def loss(self) -> float:
        """The mean of the last batch."""
        examples = jax.device_get(self._totals).examples
        return float(examples.loss) / float(examples.count) if examples.count else 0.0  # one that was left out


def _random_batches(experiment: Experiment, size: int) -> Iterator[Batch[np.ndarray]]:
    """The rows of this process of batches of random pixels and labels: what is all alike may be computed faster."""
    random, loader = np.random.default_rng(0), experiment.train_loader
    rows = loader.order.batch_size // loader.process_count
    for _ in range(BATCHES):
        images = random.integers(0, 256, (rows, size, size, 3), np.uint8)
        yield Batch(images, random.integers(0, len(experiment.class_names), rows, np.int32), np.ones(rows, bool))


def _efficiency(experiment: Experiment, cost: ProgramCost, seconds: float) -> dict[str, Any]:
    """What the compiler counts, and shares of what the devices can do; None: their peaks are not known."""
    batch_size, devices = experiment.train_loader.order.batch_size, experiment.mesh.devices
    record: dict[str, Any] = {
        "flops_per_image": cost.flops * devices.size / batch_size,
        "hbm_bytes_per_image": cost.hbm_bytes * devices.size / batch_size,
        "peak_memory_bytes_per_device": cost.peak_memory,
        "mfu": None,
        "images_per_second_bound": None,
        "share_of_bound": None,
    }
    peaks = PEAKS.get(devices.flat[0].device_kind)
    if peaks is None:
        return record
    least = least_time(
        peaks,
        dtype=experiment.dtype,
        flops=cost.flops,
        hbm_bytes=cost.hbm_bytes,
        collectives=cost.collectives,
        devices=devices.size,
    )
    return record | {
        "mfu": cost.flops / seconds / peaks.flops(experiment.dtype),
        "images_per_second_bound": batch_size / least.bound,
        "share_of_bound": least.bound / seconds,
    }
