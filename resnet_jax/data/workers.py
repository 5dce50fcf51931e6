"""Worker processes of the input pipeline: what each does at its start, and the error when one is lost.

Imports nothing but the standard library at module level, because every worker imports it.
"""

import multiprocessing
import os
import re
import signal
import threading
from multiprocessing import connection

from resnet_jax.errors import ProcessLostError

# Signals that are meant for the process that started the worker, also if they are sent to its whole process group.
NOT_FOR_WORKERS = frozenset({signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU})


class WorkerLostError(ProcessLostError):
    """A worker process has ended before the input pipeline did. The process that started it can decode by itself."""


def begin_worker(_index: int, _count: int) -> None:
    """Prepares a worker process: it ignores the signals `NOT_FOR_WORKERS`, and ends when its parent has ended.

    A parent that is killed (SIGKILL) cannot end its workers itself.
    """
    for number in NOT_FOR_WORKERS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def lost_worker(error: Exception, *, num_workers: int) -> WorkerLostError:
    """Returns the error that reports the end of a worker process.

    Args:
      error: the error of Grain, which contains the exit status of the worker.
      num_workers: number of worker processes.
    """
    found = re.search(r"exit code (-?\d+)", str(error))
    status = int(found[1]) if found else 0
    fewer = f"below {num_workers}" if num_workers > 1 else "to 0"
    cure = f"set config.data.num_workers {fewer}, or fewer config.data.num_threads"
    if status == -signal.SIGKILL:
        how = "was killed by SIGKILL, as Linux does when memory runs out"
    elif status < 0:
        how = f"was ended by {_name(-status)}"
    else:
        how, cure = "has ended" + (f" with status {status}" if status else ""), "the lines above may say why"
    return WorkerLostError(f"a worker process of the input pipeline {how}: {cure}")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
