"""Finds processes that a start of a run has left behind."""

import os
import time
from pathlib import Path

MARK = "RESNET_JAX_DRILL"  # environment variable that all processes of a start inherit
_POLL = 0.2  # seconds between two looks


def wait_until_gone(mark: str, *, seconds: float) -> list[str]:
    """Waits until no process has the environment variable `MARK` with the value `mark`.

    Returns:
      The commands of the processes that still run after `seconds` seconds.
    """
    deadline = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return list(found.values())


def marked(mark: str) -> dict[int, str]:
    """Returns process id and command of each process whose environment has the variable `MARK` with this value."""
    wanted, found = os.fsencode(f"{MARK}={mark}"), {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0") and _state(process) != "Z":
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(process.name)] = command.strip()[:200]
        except OSError:  # the process has ended, or is that of another user
            continue
    return found


def workers(parent: int) -> list[int]:
    """Returns the ids of the worker processes of the process `parent`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = b"multiprocessing.spawn" in (process / "cmdline").read_bytes() and _parent(process) == parent
        except OSError:
            continue
        if is_worker:
            found.append(int(process.name))
    return sorted(found)


def _state(process: Path) -> str:
    return _fields(process)[0]


def _parent(process: Path) -> int:
    return int(_fields(process)[1])


def _fields(process: Path) -> list[str]:
    """The fields of /proc/PID/stat after the name of the program, which may contain blanks: state, parent, ..."""
    return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
