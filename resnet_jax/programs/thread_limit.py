"""Checks that JAX can start its threads; otherwise JAX would end the process with SIGABRT and no useful message."""

import os
import threading

from resnet_jax.errors import UsageError


def threads_of_a_run(cores: int) -> int:
    """Returns how many threads the smallest run starts: those of JAX, of TensorStore, of OpenBLAS and its own.

    The formula gives slightly more than was counted in /proc/self/task during a run of two steps on a CPU, with JAX
    0.10 on Linux: 35, 71 and 339 threads on 2, 8 and 64 usable cores. The compilers of JAX have up to 32 threads each.
    """
    return 24 + 4 * cores + 2 * min(cores, 32)


def check_threads() -> None:
    """Raises UsageError if this process cannot start as many threads as a run needs.

    The number of threads may be limited for the user (RLIMIT_NPROC, which counts all processes of the user), for a
    container or for the machine. Therefore the function tries: it starts that many threads, 0.1 ms each, and ends them
    before it returns.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    needed, end = threads_of_a_run(cores), threading.Event()
    started: list[threading.Thread] = []
    try:
        while len(started) < needed:
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:  # Python's 'can't start new thread'
        raise UsageError(
            f"a run needs {needed} threads on {cores} CPU cores, and only {len(started)} can be started: end other "
            "programs, or raise the limit on processes (ulimit -u, or the pids limit of the container)"
        ) from None
    finally:
        end.set()
        for thread in started:
            thread.join()
