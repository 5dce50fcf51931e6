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
from resnet_jax.data.shared_memory import READY_BATCHES
from resnet_jax.data.workers import NOT_FOR_WORKERS, StoppedWorkers, WorkerLostError, begin_worker, lost_worker
from resnet_jax.distributed.mesh import over_batch
from resnet_jax.text import printable

logger = logging.getLogger(__name__)

STALL_TIMEOUT = 60.0  # seconds, the default of --stall_timeout
_MAX_THREADS = 16  # each thread holds a whole batch in memory; more threads would wait for the GIL


def feed(
    loader: Loader,
    *,
    mesh: Mesh,
    start: int = 0,
    stop: int | None = None,
    num_threads: int | None = None,
    num_workers: int = 0,
) -> Iterator[DeviceBatch]:
    """Yields the batches of steps start, ..., stop - 1 as arrays on the devices; logs examples that cannot be read.

    Args:
      loader: makes the batches.
      mesh: the devices that share each batch.
      start: step of the first batch.
      stop: one past the step of the last batch; None: one pass over the source.
      num_threads: decoding threads per process, see `host_batches`; None: one per core, at most 16.
      num_workers: worker processes that decode, see `host_batches`; 0: this process decodes.
    """
    stop = start + loader.num_batches if stop is None else stop
    loaded = host_batches(loader, start=start, stop=stop, num_threads=num_threads, num_workers=num_workers)
    with contextlib.closing(loaded):
        yield from device_batches(_log_unreadable(loaded, loader, start), mesh=mesh)


def host_batches(  # noqa: PLR0913, an argument for each independent choice
    loader: Loader,
    *,
    start: int,
    stop: int,
    num_threads: int | None = None,
    num_workers: int = 0,
    stopping: Callable[[], bool] = lambda: False,
    worker_lost: Callable[[str], None] | None = None,
    stall_timeout: float = STALL_TIMEOUT,
) -> Generator[LoadedBatch, None, None]:
    """Yields the batches of steps start, ..., stop - 1; the numbers of threads and workers do not change the batches.

    Args:
      loader: makes the batches.
      start: step of the first batch.
      stop: one past the step of the last batch.
      num_threads: number of decoding threads, per worker process if there are worker processes; 0: decode each batch
        only when it is requested; None: one thread per core, at most 16.
      num_workers: worker processes that decode; 0: threads of this process decode.
      stopping: returns whether a signal has asked the run to stop. The signal may have ended the worker processes too:
        this process then decodes the remaining batches, up to the step at which all processes of the run stop.
      worker_lost: called with a message for the user if a worker process has ended, for example because memory ran out;
        this process then decodes the remaining batches. None: WorkerLostError is raised.
      stall_timeout: seconds after which a worker process that SIGSTOP has stopped is killed and counts as lost.

    Raises:
      WorkerLostError: a worker process has ended, and `worker_lost` is None.
    """
    num_threads = decoding_threads(num_threads)
    dataset = grain.MapDataset.range(start, stop).map(loader.batch)
    read_options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(2, num_threads))
    batches = dataset.to_iter_dataset(read_options)
    if num_workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags, which fails if these are not parsed
        _start_resource_tracker()
        options = grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=READY_BATCHES)
        batches = batches.mp_prefetch(options, worker_init_fn=begin_worker)
    next_step = start
    try:
        for loaded in _exactly(batches, stop - start, num_workers=num_workers, stall_timeout=stall_timeout):
            yield loaded
            next_step += 1
    except Exception as error:
        if not stopping():
            if worker_lost is None or not isinstance(error, WorkerLostError):
                raise
            worker_lost(str(error))
    yield from map(loader.batch, range(next_step, stop))


def device_batches(batches: Iterator[HostBatch], *, mesh: Mesh, ahead: int = 2) -> Iterator[DeviceBatch]:
    """Yields batches copied to the devices; when a batch is yielded, copying the next `ahead` batches has started.

    Args:
      batches: batches on the host, with the rows of this process.
      mesh: the devices of all processes; the rows of the global batch are split over them.
      ahead: number of batches that are copied before they are requested.
    """
    sharding = over_batch(mesh)
    queue: collections.deque[DeviceBatch] = collections.deque()
    for batch in batches:
        queue.append(Batch(*(jax.make_array_from_process_local_data(sharding, rows) for rows in batch)))
        if len(queue) > ahead:
            yield queue.popleft()
    yield from queue


def decoding_threads(num_threads: int | None) -> int:
    """Returns `num_threads`, the number of decoding threads; if it is None, one per core, at most 16."""
    return min(cores(), _MAX_THREADS) if num_threads is None else num_threads


def decoders(num_threads: int | None, num_workers: int) -> dict[str, int]:
    """Returns the numbers of workers, decoding threads and cores, as keyword arguments of `bottleneck.advice`."""
    return {"num_workers": num_workers, "num_threads": decoding_threads(num_threads), "cores": cores()}


def cores() -> int:
    """Returns the number of CPU cores that this process may use; Slurm and containers may allow only some of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _log_unreadable(loaded: Iterator[LoadedBatch], loader: Loader, start: int) -> Iterator[HostBatch]:
    """Yields the batches, and logs a warning for each example that could not be read."""
    for step, (batch, unreadable, _) in enumerate(loaded, start):
        for index in loader.rows(step).indices[unreadable].tolist():
            where, error = loader.source.where(index), loader.read_error(index)
            logger.warning("%s cannot be read (%s)", printable(where), printable(str(error)))
        yield batch


def _exactly(
    dataset: grain.IterDataset, count: int, *, num_workers: int, stall_timeout: float
) -> Iterator[LoadedBatch]:
    """Yields `count` batches. Raises WorkerLostError if a worker process has ended."""
    with _blocked(NOT_FOR_WORKERS):
        iterator = iter(dataset)
    stopped = StoppedWorkers(stall_timeout) if num_workers else None
    with stopped or contextlib.nullcontext():
        yield from _until_lost(iterator, count, num_workers=num_workers, stopped=stopped)


def _until_lost(
    iterator: grain.DatasetIterator, count: int, *, num_workers: int, stopped: StoppedWorkers | None
) -> Iterator[LoadedBatch]:
    """Yields `count` batches of an iterator, and closes it. Raises WorkerLostError if a worker process has ended."""
    try:
        for _ in range(count):
            try:
                with _blocked(NOT_FOR_WORKERS):
                    batch = next(iterator)
            except (RuntimeError, StopIteration) as error:
                if not num_workers or (isinstance(error, RuntimeError) and "Worker process" not in str(error)):
                    raise
                raise lost_worker(error, num_workers=num_workers, stopped=stopped) from None
            yield batch
    finally:
        iterator.close()


def _start_resource_tracker() -> None:
    """Starts Python's resource tracker, a process that frees shared memory left by workers, and silences its warning.

    When a run ends early, batches in shared memory are left over. The tracker frees them and would print a warning
    after the last line of the run.
    """
    silence = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(silence)  # the tracker inherits the warning options of this process
    with _blocked(NOT_FOR_WORKERS):
        resource_tracker.ensure_running()  # the tracker unblocks SIGINT, but ignores it
    sys.warnoptions.remove(silence)


@contextlib.contextmanager
def _blocked(signals: frozenset[signal.Signals]) -> Iterator[None]:
    """Blocks signals in this thread and in the processes that are started in the context, which inherit the block.

    A terminal sends SIGINT, and a scheduler its signals, to this process and all workers. Only this process, in a
    thread that does not block them, should handle them.
    """
    old = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
