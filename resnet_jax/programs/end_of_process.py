"""Ends the process although threads may still wait for computations.

When a process ends with an error, its devices may still compute the step that was dispatched last, and a daemon thread
waits for it in the C++ code of JAX (`reporting/time_accounting.py`). When the step is done, the thread needs the lock
of Python's interpreter. While Python finalizes the interpreter, it ends every thread that asks for this lock. In C++
code that aborts the process, which then ends by SIGABRT instead of with its exit status (Python 3.11 to 3.13:
https://docs.python.org/3.13/c-api/init.html#c.PyGILState_Ensure).
"""

import atexit
import contextlib
import logging
import os
import sys
from collections.abc import Iterator

_FLUSH_FAILED = 120  # exit status of Python if the buffered output cannot be written at its end


@contextlib.contextmanager
def without_finalization() -> Iterator[None]:
    """Runs the last block of a process, which then ends without finalizing the interpreter if JAX was imported.

    The exit status is that of `SystemExit`, 0 if the block raises nothing, and 1 for any other exception. All threads
    that are not daemons have ended before, and functions that were registered with `atexit` in the block were called.
    """
    status = 1

    def leave() -> None:
        if "jax" in sys.modules:
            logging.shutdown()  # its own function was registered earlier, so it would be called later
            os._exit(status if _flushed() else status or _FLUSH_FAILED)

    atexit.register(leave)  # functions are called in reverse order: those that the block registers before this one
    try:
        yield
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


def _flushed() -> bool:
    """Flushes stdout and stderr; returns whether that was possible."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True
