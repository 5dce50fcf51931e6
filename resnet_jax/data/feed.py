"""Batches ahead of time: Grain decodes them in threads or processes, then they are copied to the devices."""

import collections
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker

import grain
import jax
from absl import flags
from jax.sharding import Mesh

from resnet_jax.data.batch import Batch, DeviceBatch, HostBatch
from resnet_jax.data.loader import LoadedBatch, Loader
from resnet_jax.distributed.mesh import over_batch

_MOST_THREADS = 16  # each holds a whole batch; more decode no faster than the GIL lets them read


def host_batches(
    loader: Loader,
    *,
    start: int,
    stop: int,
    num_threads: int | None,
    num_workers: int,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[LoadedBatch, None, None]:
    """Yields the batches start, ..., stop - 1 in order, made ahead; who makes them does not change them.

    Args:
      loader: makes one batch.
      start: first step.
      stop: one past the last step.
      num_threads: threads (in each worker process); 0: when asked for; None: one a core, at most 16.
      num_workers: worker processes; 0: threads of this process.
      stopping: whether the run is about to end. A signal to the whole process group ends the workers, too; then the few
        batches until all processes have come to the same step are made here.
    """
    num_threads = decoding_threads(num_threads)
    dataset = grain.MapDataset.range(start, stop).map(loader.batch)
    ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(2, num_threads))
    batches = dataset.to_iter_dataset(ahead)
    if num_workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags
        _start_resource_tracker()  # later, it would unblock what is blocked below
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=2))
    made = start
    try:
        for loaded in _exactly(batches, stop - start):
            yield loaded
            made += 1
    except Exception:
        if not stopping():
            raise
    yield from map(loader.batch, range(made, stop))


def device_batches(batches: Iterator[HostBatch], *, mesh: Mesh, ahead: int = 2) -> Iterator[DeviceBatch]:
    """Copies batches to the devices, `ahead` of them before they are asked for.

    Each process gives its rows; the result is the global batch, split over the mesh.
    """
    sharding = over_batch(mesh)
    queue: collections.deque[DeviceBatch] = collections.deque()
    for batch in batches:
        queue.append(Batch(*(jax.make_array_from_process_local_data(sharding, rows) for rows in batch)))
        if len(queue) > ahead:
            yield queue.popleft()
    yield from queue


def decoding_threads(num_threads: int | None) -> int:
    """How many threads decode: so many; None: one a core, at most 16."""
    return min(cores(), _MOST_THREADS) if num_threads is None else num_threads


def decoders(num_threads: int | None, num_workers: int) -> dict[str, int]:
    """What makes the images, as `reporting.bottleneck.advice` takes it."""
    return {"num_workers": num_workers, "num_threads": decoding_threads(num_threads), "cores": cores()}


def cores() -> int:
    """Cores that this process may use: Slurm and containers give it some of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _exactly(dataset: grain.IterDataset, count: int) -> Iterator[LoadedBatch]:
    """Passes on `count` batches; fewer is an error, for a broken worker looks like the end of the data."""
    with _interrupts_blocked():
        iterator = iter(dataset)
    try:
        for got in range(count):
            try:
                with _interrupts_blocked():
                    batch = next(iterator)
            except StopIteration:
                raise RuntimeError(f"the input pipeline ended after {got} of {count} batches") from None
            yield batch
    finally:
        iterator.close()


def _start_resource_tracker() -> None:
    """Starts the process that clears away what workers leave: batches that nobody takes when a run ends early.

    That is nothing to warn the user of, which it would do after the last line of the run.
    """
    silence = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(silence)  # it is started with the options of this process
    resource_tracker.ensure_running()
    sys.warnoptions.remove(silence)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Worker processes started in here never get SIGINT: Ctrl-C goes to all of them, and is for this one.

    Another thread of this process still takes it.
    """
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
