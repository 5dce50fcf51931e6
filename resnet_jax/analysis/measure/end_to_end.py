"""Loader, feed and step together, as a training run has them."""

import contextlib
from typing import Any

import jax

from resnet_jax.analysis.measure.windows import SPARE_BATCHES, Windows, rates, time_windows, wall_clock
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_steps, initial_state
from resnet_jax.reporting.time_accounting import TimeAccounting


def measure_end_to_end(experiment: Experiment, windows: Windows) -> dict[str, Any]:
    """Times training steps on loaded batches; totals are fetched one step late, as in training.

    Returns:
      The rates, and where the seconds of all windows went (`accounting.py`).
    """
    steps, state = compile_train_steps(experiment), initial_state(experiment)
    loaded = host_batches(
        experiment.train_loader,
        start=0,
        stop=windows.total_steps + SPARE_BATCHES,
        num_threads=experiment.num_threads,
        num_workers=experiment.num_workers,
        stopping=lambda: False,
    )
    with contextlib.closing(loaded), TimeAccounting() as accounting:
        batches = accounting.measure_items("input", (made.batch for made in loaded))
        feed = device_batches(batches, mesh=experiment.mesh)
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
        spent = {part: total - before[part] for part, total in accounting.seconds().items()}
    images = windows.steps * experiment.train_loader.order.batch_size
    return {"images_per_second": rates(seconds, images), "seconds": {part: s for part, s in spent.items() if s}}
