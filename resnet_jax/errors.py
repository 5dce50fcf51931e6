"""The errors that end a run with a message instead of a traceback."""

import contextlib
import errno
from collections.abc import Iterator

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "read-only disk"}


class UsageError(Exception):
    """Bad usage, config or data: one line that says what was got, what was wanted and the cure."""

    exit_status = 2


class ProcessLostError(UsageError):
    """Another process of the run is not there: one line; the same command may do next time."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h


class NonFiniteError(Exception):
    """The loss or the gradient stopped being finite; `cure` says which settings to try."""

    exit_status = 3

    def __init__(self, problem: str, *, cure: str = "a lower schedule.base_lr, a longer schedule.warmup_epochs"):
        super().__init__(problem)
        self.cure = cure


@contextlib.contextmanager
def disk_full_as_usage_error(purpose: str) -> Iterator[None]:
    """Turns an OSError of a disk that takes no more into a UsageError: run again, 'to continue'."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        place = f" ({error.filename})" if error.filename else ""
        raise UsageError(f"{_FULL[error.errno]}{place}: make room and run the same command again {purpose}") from error


@contextlib.contextmanager
def out_of_memory_as_usage_error() -> Iterator[None]:
    """Turns XLA's error of a device without memory into a UsageError."""
    try:
        yield
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        cause = str(error).split("\n", 1)[0][:200]
        raise UsageError(
            f"the devices have too little memory ({cause}): set config.train.per_device_limit to fewer images, or take "
            "more devices (--mode=plan says how much a step needs)"
        ) from error
