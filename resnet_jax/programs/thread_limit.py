"""Checks that JAX can start its threads: without them, it ends the process with SIGABRT and no message of use."""

import os
import threading

from resnet_jax.errors import UsageError


def threads_of_jax(cores: int) -> int:
    """Returns how many threads JAX starts for its CPU devices and its first compilation, on any platform.

    Counted in /proc/self/task with JAX 0.10 on Linux, with 1, 2, 4 and 64 usable cores: 12, 15, 21 and 169. A
    compilation has at most 32 threads.
    """
    return 9 + 2 * cores + min(cores, 32)


def check_threads() -> None:
    """Raises UsageError if this process cannot start as many threads as JAX needs.

    The limit may be that of the user (RLIMIT_NPROC, which counts all processes of the user), of a container or of the
    machine. So the threads are started: each takes 0.1 ms. They end before this function returns.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    needed, end = threads_of_jax(cores), threading.Event()
    started: list[threading.Thread] = []
    try:
        while len(started) < needed:
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:  # Python's 'can't start new thread'
        raise UsageError(
            f"JAX needs {needed} threads on {cores} CPU cores, and only {len(started)} can be started: end other "
            "programs, or raise the limit on processes (ulimit -u, or the pids limit of the container)"
        ) from None
    finally:
        end.set()
        for thread in started:
            thread.join()
