"""Decodes batches ahead of time in threads or worker processes (Grain), then copies them to the devices."""

import collections
import contextlib
import logging
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

logger = logging.getLogger(__name__)

_MAX_THREADS = 16  # each thread holds a whole batch; with more, the GIL limits the reading


def feed(
    loader: Loader,
    *,
    mesh: Mesh,
    start: int = 0,
    stop: int | None = None,
    num_threads: int | None = None,
    num_workers: int = 0,
) -> Iterator[DeviceBatch]:
    """Yields the batches start, ..., stop - 1 of a loader on the devices; logs examples that cannot be read.

    Args:
      loader: makes the batches.
      mesh: the devices that share each batch.
      start: first step.
      stop: one past the last step; None: one pass over the source.
      num_threads: see `host_batches`.
      num_workers: see `host_batches`.
    """
    stop = start + loader.num_batches if stop is None else stop
    loaded = host_batches(loader, start=start, stop=stop, num_threads=num_threads, num_workers=num_workers)
    with contextlib.closing(loaded):
        yield from device_batches(_log_unreadable(loaded, loader, start), mesh=mesh)


def host_batches(
    loader: Loader,
    *,
    start: int,
    stop: int,
    num_threads: int | None = None,
    num_workers: int = 0,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[LoadedBatch, None, None]:
    """Yields the batches start, ..., stop - 1 in order; the numbers of threads and workers do not change them.

    Args:
      loader: makes the batches.
      start: first step.
      stop: one past the last step.
      num_threads: decoding threads, in each worker process if there are any; 0: decode when a batch is taken, nothing
        ahead; None: one per core, at most 16.
      num_workers: worker processes; 0: the threads belong to this process.
      stopping: returns whether the run is about to end. A signal to the process group also ends the workers; the few
        batches until all processes stop at the same step are then made in this process.
    """
    num_threads = decoding_threads(num_threads)
    dataset = grain.MapDataset.range(start, stop).map(loader.batch)
    read_options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(2, num_threads))
    batches = dataset.to_iter_dataset(read_options)
    if num_workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags
        _start_resource_tracker()  # before SIGINT is blocked: starting the tracker unblocks it
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=2))
    next_step = start
    try:
        for loaded in _exactly(batches, stop - start):
            yield loaded
            next_step += 1
    except Exception:
        if not stopping():
            raise
    yield from map(loader.batch, range(next_step, stop))


def device_batches(batches: Iterator[HostBatch], *, mesh: Mesh, ahead: int = 2) -> Iterator[DeviceBatch]:
    """Copies batches to the devices, `ahead` of them before they are needed.

    Args:
      batches: the rows of this process.
      mesh: the devices of all processes; the rows of the global batch are split over them.
      ahead: number of batches copied before the one that is yielded is used.
    """
    sharding = over_batch(mesh)
    queue: collections.deque[DeviceBatch] = collections.deque()
    for batch in batches:
        queue.append(Batch(*(jax.make_array_from_process_local_data(sharding, rows) for rows in batch)))
        if len(queue) > ahead:
            yield queue.popleft()
    yield from queue


def decoding_threads(num_threads: int | None) -> int:
    """Resolves the number of decoding threads; None: one per core, at most 16."""
    return min(cores(), _MAX_THREADS) if num_threads is None else num_threads


def decoders(num_threads: int | None, num_workers: int) -> dict[str, int]:
    """Returns the resources that decode images, as keyword arguments of `reporting.bottleneck.advice`."""
    return {"num_workers": num_workers, "num_threads": decoding_threads(num_threads), "cores": cores()}


def cores() -> int:
    """Returns the number of cores that this process may use; Slurm and containers may restrict it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _log_unreadable(loaded: Iterator[LoadedBatch], loader: Loader, start: int) -> Iterator[HostBatch]:
    """Passes the batches on and logs a warning for each example that could not be read."""
    for step, (batch, unreadable) in enumerate(loaded, start):
        for index in loader.rows(step).indices[unreadable].tolist():
            logger.warning("%s cannot be read (%s)", loader.source.where(index), loader.read_error(index))
        yield batch


def _exactly(dataset: grain.IterDataset, count: int) -> Iterator[LoadedBatch]:
    """Yields `count` batches. Raises RuntimeError if there are fewer: Grain ends the data when a worker dies."""
    with _sigint_blocked():
        iterator = iter(dataset)
    try:
        for received in range(count):
            try:
                with _sigint_blocked():
                    batch = next(iterator)
            except StopIteration:
                raise RuntimeError(f"the input pipeline ended after {received} of {count} batches") from None
            yield batch
    finally:
        iterator.close()


def _start_resource_tracker() -> None:
    """Starts the process that frees shared memory left by workers, without its warning.

    When a run ends early, batches in shared memory are left over. The tracker frees them and would print a warning
    after the last line of the run.
    """
    silence = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(silence)  # the tracker inherits the warning options of this process
    resource_tracker.ensure_running()
    sys.warnoptions.remove(silence)


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Blocks SIGINT in this thread; worker processes started meanwhile inherit that and ignore Ctrl-C.

    A terminal sends Ctrl-C to all processes, and only this process is to handle it. Another of its threads receives it.
    """
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
