"""Checks that the batches of worker processes fit into shared memory, through which they reach the main process."""

import os

from resnet_jax.errors import UsageError

READY_BATCHES = 2  # batches that each worker process keeps ready


def check_shared_memory(batch_bytes: int, num_workers: int, *, directory: str = "/dev/shm") -> None:
    """Checks that the batches which worker processes have ready fit into shared memory; call it before training.

    A container often has only 64 MB of shared memory. A worker that needs more is killed in the middle of the run.

    Args:
      batch_bytes: size of the images of a batch in this process.
      num_workers: worker processes that decode.
      directory: where the shared memory is mounted.

    Raises:
      UsageError: the batches do not fit.
    """
    if not num_workers:
        return
    try:
        disk = os.statvfs(directory)
    except OSError:  # systems other than Linux keep shared memory elsewhere
        return
    free, needed = disk.f_bavail * disk.f_frsize, num_workers * READY_BATCHES * batch_bytes
    if needed > free:
        raise UsageError(
            f"{num_workers} worker processes pass batches through shared memory and need {needed / 1e6:,.0f} MB of it, "
            f"and {directory} has {free / 1e6:,.0f} MB: give the container more (docker run --shm-size=8g), or set "
            "--config.data.num_workers=0, with which threads decode"
        )
