"""Measures the input pipeline alone: batches are loaded as fast as possible and discarded."""

import contextlib
from typing import Any

from resnet_jax.analysis.measure.windows import SPARE_BATCHES, Windows, rates, spread, wall_clock
from resnet_jax.analysis.process_tree import ProcessTree
from resnet_jax.data.feed import host_batches
from resnet_jax.experiment import Experiment


def measure_loader(experiment: Experiment, windows: Windows) -> dict[str, Any]:
    """Times the loader of this process with the numbers of threads and processes of the config; returns JSON values."""
    loader, reading = experiment.data.train_loader, experiment.data.reading
    loaded = host_batches(
        loader,
        start=0,
        stop=windows.total_steps + SPARE_BATCHES,
        num_threads=reading.num_threads,
        num_workers=reading.num_workers,
        stopping=lambda: False,
    )
    tree, seconds, cpu_seconds, size = ProcessTree(), [], [], 0
    with contextlib.closing(loaded):
        for _ in range(windows.warmup_steps):
            next(loaded)
        for _ in range(windows.count):
            start, cpu_start = wall_clock(), tree.cpu_seconds()
            for _ in range(windows.steps):
                size = next(loaded).batch.image.nbytes
            seconds.append(wall_clock() - start)
            cpu_seconds.append(tree.cpu_seconds() - cpu_start)
    rows = loader.batch_size // loader.process_count
    return {
        "images_per_second": rates(seconds, windows.steps * rows),
        "images_per_cpu_second": rates(cpu_seconds, windows.steps * rows) if min(cpu_seconds) > 0 else None,
        "megabytes_per_second": spread([windows.steps * size / 1e6 / window for window in seconds]),
        "num_threads": reading.num_threads,
        "num_workers": reading.num_workers,
    }
