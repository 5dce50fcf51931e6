"""Errors that end a run with one line and an exit status instead of a traceback."""

import contextlib
import errno
import os
import traceback
from collections.abc import Iterator

# errno of a disk error -> what is wrong, and the cure.
_DISK = {
    errno.ENOSPC: ("the disk is full", "make room"),
    errno.EDQUOT: ("the disk quota is used up", "make room"),
    errno.EROFS: ("the disk is read-only", "make it writable, or choose another place"),
    errno.EFBIG: ("a file is larger than this process may write", "raise the limit (ulimit -f)"),
    errno.EIO: ("the disk reports an error (input/output error)", "check the disk"),
}
_SHARED_MEMORY = "/dev/shm"  # where data worker processes put batches for the main process
# Error numbers of a path that this process may not use or that is no valid path.
_PATH = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE)
# Error numbers of a path that is of another kind than needed, such as a directory instead of a file.
_OTHER_KIND = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_NO_THREAD = "can't start new thread"  # message of Python's RuntimeError (Modules/_threadmodule.c)
# Part of the path of library code that reads environment variables -> name of the library, prefix of the variables.
_READERS = {
    "jax/_src/config.py": ("JAX", "JAX_"),
    "/matplotlib/": ("matplotlib", "MPL"),
    "/tqdm/": ("tqdm", "TQDM_"),
}
_START_OF_PLATFORMS = "jax/_src/xla_bridge.py"  # the file of JAX that starts the platforms, such as cpu and cuda


class UsageError(Exception):
    """A mistake in the command, the config or the data. The message is one line: what is wrong, and the cure."""

    exit_status = 2


class ProcessLostError(UsageError):
    """Another process of the run is missing or has died. The same command may succeed next time."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h


class NonFiniteError(Exception):
    """The loss or the gradient norm is NaN or infinite; `cure` names the config keys to change.

    Attributes:
      step: the step at which it was noticed, counted from 1, as in `metrics.jsonl`.
      cure: what to change in the config.
    """

    exit_status = 3

    def __init__(
        self, problem: str, *, step: int, cure: str = "a lower schedule.base_lr, a longer schedule.warmup_epochs"
    ):
        super().__init__(f"step {step}: {problem}")
        self.step, self.cure = step, cure


@contextlib.contextmanager
def disk_full_as_usage_error(purpose: str) -> Iterator[None]:
    """Turns an error of a disk, such as a full or read-only one, into a UsageError.

    Libraries that write files, such as TensorFlow, report errors of the operating system by exceptions of their own.
    These are recognized by their cause or by the text of the message.

    Args:
      purpose: what running the command again achieves, for the message: "to continue" or "to begin anew".
    """
    try:
        yield
    except Exception as error:
        number, filename = _disk_error(error)
        if number is None or isinstance(error, UsageError | NonFiniteError):
            raise
        file = f" ({os.fsdecode(filename)})" if filename else ""
        problem, cure = _DISK[number]
        if str(filename).startswith(_SHARED_MEMORY):
            problem = f"shared memory ({_SHARED_MEMORY}), through which worker processes pass batches, is full"
            cure = "give the container more (docker run --shm-size=8g), or set --config.data.num_workers=0,"
        raise UsageError(f"{problem}{file}: {cure} and run the same command again {purpose}") from error


def _disk_error(error: BaseException) -> tuple[int | None, str | bytes | None]:
    """Returns the first errno of `_DISK` that an error or one of its causes has, and its file; None if unknown."""
    for found in _with_causes(error):
        if isinstance(found, OSError) and found.errno in _DISK:
            return found.errno, found.filename
    return next((number for number in _DISK if os.strerror(number) in str(error)), None), None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error, its members if it is an exception group, and the causes and contexts of all these errors."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if found in seen:
            continue
        seen.append(found)
        yield found
        context = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
        waiting += [context] if context is not None else []
        waiting += found.exceptions if isinstance(found, BaseExceptionGroup) else []


@contextlib.contextmanager
def unusable_path_as_usage_error() -> Iterator[None]:
    """Turns the OSError for an unusable path (no permission, not a directory, name too long) into a UsageError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (*_PATH, *_OTHER_KIND) or not error.filename:
            raise
        is_other_kind = error.errno in _OTHER_KIND
        # If a file cannot be renamed, what exists at the new name, `filename2`, is of another kind than the file.
        path = os.fsdecode((is_other_kind and error.filename2) or error.filename)
        cure = "move away what is there" if is_other_kind else "change its permissions"
        raise UsageError(f"{path} cannot be used ({error.strerror}): {cure}, or give another path") from error


@contextlib.contextmanager
def process_limit_as_usage_error() -> Iterator[None]:
    """Turns the error of a thread or process that cannot be started, because a limit is reached, into a UsageError."""
    try:
        yield
    except (RuntimeError, BlockingIOError) as error:
        is_fork = isinstance(error, BlockingIOError) and error.strerror == os.strerror(errno.EAGAIN)
        if not (is_fork or _NO_THREAD in str(error)):
            raise
        raise UsageError(
            "no further thread or process can be started: raise the limit (ulimit -u, or the pids limit of the "
            "container), or set fewer config.data.num_threads and config.data.num_workers"
        ) from error


@contextlib.contextmanager
def warning_as_usage_error() -> Iterator[None]:
    """Turns a warning that Python raises as an exception, as PYTHONWARNINGS=error demands, into a UsageError."""
    try:
        yield
    except Warning as warning:
        first_line = str(warning).strip().partition("\n")[0]
        raise UsageError(
            f"a package warned ({type(warning).__name__}: {first_line}), and Python is set to raise warnings as "
            "exceptions: unset PYTHONWARNINGS, or leave out the option -W of python"
        ) from warning


@contextlib.contextmanager
def missing_platform_as_usage_error() -> Iterator[None]:
    """Turns the error with which JAX fails to start a platform, such as cuda, into a UsageError.

    For most platforms that a machine lacks, JAX raises a RuntimeError; for cuda, an AssertionError without a message.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        if not _passed_through(error, _START_OF_PLATFORMS):
            raise
        wanted = os.environ.get("JAX_PLATFORMS")
        subject = f"the devices of JAX_PLATFORMS={wanted}" if wanted else "the devices of this machine"
        reason = (" ".join(str(error).split()) or "they are missing or not supported by the installed JAX")[:300]
        raise UsageError(
            f"JAX cannot start {subject} ({reason}): set JAX_PLATFORMS=cpu, or install JAX and drivers for the devices"
        ) from error


@contextlib.contextmanager
def wrong_variable_as_usage_error() -> Iterator[None]:
    """Turns the error with which a library refuses the value of an environment variable into a UsageError."""
    try:
        yield
    except ValueError as error:
        for code, (library, prefix) in _READERS.items():
            found = ", ".join(f"{name}={value}" for name, value in os.environ.items() if name.startswith(prefix))
            if found and _passed_through(error, code):
                raise UsageError(
                    f"{library} refuses the value of an environment variable ({' '.join(str(error).split())[:200]}): "
                    f"correct or unset it (set: {found})"
                ) from error
        raise


def _passed_through(error: BaseException, code: str) -> bool:
    """Whether the traceback of an error has a frame of a source file whose path contains `code`."""
    return any(code in frame.filename for frame in traceback.extract_tb(error.__traceback__))


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
