"""Runs checks in child processes, so that one that hangs or crashes does not take the others with it."""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from resnet_jax.errors import UsageError
from resnet_jax.programs.doctor.finding import ERROR, Finding, error, warning

_REAP_SECONDS = 1.0  # how long to wait for a killed child to end: a child that is blocked by a file server does not end


class Check(NamedTuple):
    """A check that runs in a child process with a time limit."""

    subject: str  # `Finding.subject` of its findings, such as 'memory'
    run: Callable[[], Sequence[Finding]]
    seconds: float  # time limit
    cure: str  # what the user can do if the check does not end in time


class ChildError(Exception):
    """A child process crashed, or its function raised an exception; the message says which."""


def findings(check: Check) -> list[Finding]:
    """Runs a check in a child process; returns its findings, or one that says why it failed."""
    try:
        return [Finding(*found) for found in in_child(check.run, seconds=check.seconds)]
    except TimeoutError:
        return [error(check.subject, f"the check has not ended within {check.seconds:g} s", cure=check.cure)]
    except UsageError as wrong:
        return [Finding(ERROR, check.subject, str(wrong))]
    except ChildError as wrong:
        return [
            warning(check.subject, f"could not be checked ({wrong})", cure="report this as a fault of this program")
        ]


def in_child(function: Callable[[], Any], *, seconds: float) -> Any:
    """Calls a function in a forked child process and returns its result, which must consist of JSON values.

    What the function prints is discarded. Call this before the process imports JAX or starts threads.

    Raises:
      TimeoutError: the function has not returned within `seconds`; its process was killed.
      UsageError: the function has raised a UsageError.
      ChildError: the process has crashed, or the function has raised another exception.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(function, writer)
    os.close(writer)
    try:
        answer = _read_line(reader, deadline=time.monotonic() + seconds)
    finally:
        os.close(reader)
        status = _end(child)
    if not answer.endswith(b"\n"):
        number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else 0
        raise ChildError(
            f"it was ended by {signal.Signals(number).name}" if number else "it has ended without an answer"
        )
    kind, content = json.loads(answer)
    if kind == "usage":
        raise UsageError(content)
    if kind == "error":
        raise ChildError(content)
    return content


def _answer(function: Callable[[], Any], writer: int) -> None:
    """In the child: writes the result of the function, or its exception, and ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    try:
        answer = ["value", function()]
    except UsageError as wrong:
        answer = ["usage", str(wrong)]
    except BaseException as wrong:  # SystemExit too: every exception is reported to the parent
        answer = ["error", " ".join(f"{type(wrong).__name__}: {wrong}".split())]
    with contextlib.suppress(BaseException), os.fdopen(writer, "w") as output:
        output.write(json.dumps(answer) + "\n")
    os._exit(0)


def _read_line(reader: int, *, deadline: float) -> bytes:
    """Reads up to a newline or the end of the stream. Raises TimeoutError at the deadline."""
    answer = b""
    while not answer.endswith(b"\n"):
        if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        part = os.read(reader, 1 << 16)
        if not part:
            break
        answer += part
    return answer


def _end(child: int) -> int | None:
    """Kills a child process unless it has ended; returns its wait status, or None if it still runs after a second."""
    deadline = time.monotonic() + _REAP_SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > deadline:
            return None
        os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
