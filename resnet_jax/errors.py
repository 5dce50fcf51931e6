"""Errors that end a run with one line and an exit status instead of a traceback."""

import contextlib
import errno
from collections.abc import Iterator

_DISK_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "read-only disk",
}


class UsageError(Exception):
    """A mistake in the command, the config or the data. The message is one line: what is wrong, and the cure."""

    exit_status = 2


class ProcessLostError(UsageError):
    """Another process of the run is missing or has died. The same command may succeed next time."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h


class NonFiniteError(Exception):
    """The loss or the gradient norm is NaN or infinite; `cure` names the config keys to change."""

    exit_status = 3

    def __init__(self, problem: str, *, cure: str = "a lower schedule.base_lr, a longer schedule.warmup_epochs"):
        super().__init__(problem)
        self.cure = cure


@contextlib.contextmanager
def disk_full_as_usage_error(purpose: str) -> Iterator[None]:
    """Turns the OSError of a full or read-only disk into a UsageError.

    Args:
      purpose: what running the command again achieves, for the message: "to continue" or "to begin anew".
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        file = f" ({error.filename})" if error.filename else ""
        raise UsageError(
            f"{_DISK_FULL[error.errno]}{file}: make room and run the same command again {purpose}"
        ) from error


@contextlib.contextmanager
def out_of_memory_as_usage_error() -> Iterator[None]:
    """Turns XLA's RESOURCE_EXHAUSTED error of a device without free memory into a UsageError."""
    try:
        yield
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        cause = str(error).split("\n", 1)[0][:200]
        raise UsageError(
            f"the devices have too little memory ({cause}): set config.train.per_device_limit to fewer images, or use "
            "more devices (--mode=plan shows the memory that a step needs)"
        ) from error
