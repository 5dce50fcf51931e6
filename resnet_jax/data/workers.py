"""Worker processes of the input pipeline: what each does at its start, and the error when one is lost.

At module level it imports only the standard library and `errors.py`, because every worker imports this module.
"""

import multiprocessing
import os
import re
import signal
import threading
from multiprocessing import connection
from pathlib import Path
from types import TracebackType

from resnet_jax.errors import ProcessLostError

# Signals that workers ignore, because only the process that started them must handle them; a terminal or a scheduler
# sends them to the whole process group.
NOT_FOR_WORKERS = frozenset({signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU})


_LOOKS = 10  # number of checks of every worker within the time limit of `StoppedWorkers`
_NAME = "grain-process-prefetch"  # how the names of the worker processes begin (grain, process_prefetch.py)


class WorkerLostError(ProcessLostError):
    """A worker process has ended before the input pipeline did. The parent process can decode the batches itself."""


def begin_worker(_index: int, _count: int) -> None:
    """Prepares a worker process: it ignores the signals `NOT_FOR_WORKERS`, and ends when its parent has ended.

    A parent that is killed (SIGKILL) cannot end its workers itself.
    """
    for number in NOT_FOR_WORKERS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


class StoppedWorkers:
    """Kills worker processes that have been stopped (SIGSTOP) for too long, in a thread; a context manager.

    This process would wait forever for the batches of such a worker. A killed worker is noticed, see `lost_worker`. The
    thread counts its checks, not seconds: if this process is stopped together with its workers, it kills none later.
    Only Linux tells whether a process is stopped; on other systems nothing is done.
    """

    def __init__(self, timeout: float):
        """Takes the time limit in seconds."""
        self.killed = False  # whether a worker was killed
        self.timeout = timeout
        self._ended = threading.Event()

    def __enter__(self) -> "StoppedWorkers":
        self._thread = threading.Thread(target=self._watch, name="stopped workers", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        looks: dict[multiprocessing.process.BaseProcess, int] = {}
        while not self._ended.wait(self.timeout / _LOOKS):
            stopped = [worker for worker in multiprocessing.active_children() if _is_stopped(worker)]
            looks = {worker: looks.get(worker, 0) + 1 for worker in stopped}
            for worker, count in looks.items():
                if count >= _LOOKS:
                    self.killed = True
                    worker.kill()


def _is_stopped(process: multiprocessing.process.BaseProcess) -> bool:
    """Whether a process is a worker of the input pipeline that a signal has stopped."""
    if not process.name.startswith(_NAME):
        return False
    try:
        status = Path(f"/proc/{process.pid}/stat").read_text()  # 'PID (NAME) STATE ...', see proc_pid_stat(5)
    except OSError:  # it has ended, or this system has no /proc
        return False
    return status.rpartition(")")[2].split()[0] == "T"


def lost_worker(error: Exception, *, num_workers: int, stopped: StoppedWorkers | None = None) -> WorkerLostError:
    """Returns the error that reports the end of a worker process.

    Args:
      error: the error of Grain, which contains the exit status of the worker.
      num_workers: number of worker processes.
      stopped: the monitor that may have killed the worker because it was stopped; None if there was no monitor.
    """
    found = re.search(r"exit code (-?\d+)", str(error))
    status = int(found[1]) if found else 0
    fewer = f"below {num_workers}" if num_workers > 1 else "to 0"
    if stopped is not None and stopped.killed:
        how = f"was stopped for {stopped.timeout:g} s (--stall_timeout), as SIGSTOP does, and is ended"
        cure = "find out what stops it, or set config.data.num_workers to 0"
    elif status == -signal.SIGKILL:
        how = "was killed by SIGKILL, as Linux does when memory runs out"
        cure = f"set config.data.num_workers {fewer}, or fewer config.data.num_threads"
    elif status == -signal.SIGTERM:
        how, cure = "was ended by SIGTERM, which another program sends", "find out what has sent it to this process"
    elif status < 0:
        how = f"was ended by {_name(-status)}"
        cure = "if this happens again, find the image that does it with --mode=check_data"
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
