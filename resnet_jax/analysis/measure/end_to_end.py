"""Measures loader, transfer to the devices and training step together, as in a training run."""

import contextlib
from typing import Any

import jax

from resnet_jax.analysis.measure.windows import SPARE_BATCHES, Windows, rates, time_windows, wall_clock
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_steps, initial_state
from resnet_jax.reporting.time_accounting import TimeAccounting


def measure_end_to_end(experiment: Experiment, windows: Windows) -> dict[str, Any]:
    """Times training steps on loaded batches; the metrics of a step are fetched one step late, as in training.

    Returns:
      JSON values: images/s, and the seconds of all windows by phase (`reporting/time_accounting.py`).
    """
    steps, state = compile_train_steps(experiment), initial_state(experiment)
    loader, reading = experiment.data.train_loader, experiment.data.reading
    loaded = host_batches(
        loader,
        start=0,
        stop=windows.total_steps + SPARE_BATCHES,
        num_threads=reading.num_threads,
        num_workers=reading.num_workers,
        stopping=lambda: False,
    )
    with contextlib.closing(loaded), TimeAccounting() as accounting:
        batches = accounting.measure_items("input", (item.batch for item in loaded))
        feed = device_batches(batches, mesh=experiment.computation.mesh)
        pending = None

        def run(count: int) -> None:
            nonlocal state, pending
            for _ in range(count):
                batch = next(feed)
                state, totals = accounting.step(steps[batch.image.shape[1]], state, batch)
                jax.device_get(pending)
                pending = totals
            jax.block_until_ready(pending)

        run(windows.warmup_steps)
        before = accounting.seconds()
        seconds = time_windows(windows, run, clock=wall_clock)
        spent = {phase: total - before[phase] for phase, total in accounting.seconds().items()}
    images = windows.steps * loader.batch_size
    return {"images_per_second": rates(seconds, images), "seconds": {phase: s for phase, s in spent.items() if s}}
