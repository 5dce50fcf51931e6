"""Checks of the work directory: free space, writing, file locks, and whether another process uses it."""

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path

from resnet_jax.files import fsync, replacing
from resnet_jax.programs.doctor.finding import Finding, error, ok, warning
from resnet_jax.reporting.workdir import Workdir

# If fewer bytes are free: warning, error. A checkpoint of ResNet-50 has 0.2 GB, and three or four are kept.
_LITTLE_SPACE, _TOO_LITTLE_SPACE = 5e9, 0.5e9
_FEW_NAMES = 10_000  # with fewer free inodes (files that can be created) the check warns; a checkpoint needs about 12
_CLOCK_DIFFERENCE = 5.0  # seconds; if the clock of the file server differs by more, the check warns
_CHOOSE = "choose another directory with --workdir=DIR"


def disk(workdir: str) -> list[Finding]:
    """Checks the free space of the file system of the work directory, which need not exist yet."""
    place = existing_parent(Workdir(workdir).path)
    space = os.statvfs(place)
    free, names = space.f_bavail * space.f_frsize, space.f_favail
    text = f"{free / 1e9:.1f} GB are free in {place}"
    if free < _TOO_LITTLE_SPACE:
        return [error("disk", text, cure=f"make room, or {_CHOOSE}")]
    if free < _LITTLE_SPACE:
        return [warning("disk", text, cure=f"make room for checkpoints, or {_CHOOSE}")]
    if space.f_files and names < _FEW_NAMES:
        return [warning("disk", f"{text}, and only {names:,} files can be created", cure=f"delete files, or {_CHOOSE}")]
    return [ok("disk", text)]


def work_directory(name: str, *, is_given: bool = True) -> list[Finding]:
    """Checks that files in the work directory can be written, renamed, flushed and locked. Leaves nothing behind.

    Args:
      name: the work directory, which need not exist yet.
      is_given: whether the user has named it; if not, the finding names only the directory in which it would be made.
    """
    workdir = Workdir(name)
    workdir.check_kinds()
    place = existing_parent(workdir.path)
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as scratch:
            problems = _try_writing(Path(scratch))
    except OSError as wrong:
        problem = f"{place} cannot be written ({wrong.strerror or wrong})"
        return [error("workdir", problem, cure=f"make it writable, or {_CHOOSE}")]
    if _is_locked(workdir.path / ".lock"):
        problem = f"another process is at work in {workdir.path}"
        problems.append(warning("workdir", problem, cure="wait for it, stop it, or " + _CHOOSE))
    if not is_given:
        text = f"files in {place} can be written and locked; --workdir=DIR checks the directory of a run"
        return problems or [ok("workdir", text)]
    what = "holds a run" if workdir.holds_checkpoints() else "has no run yet"
    return problems or [ok("workdir", f"{workdir.path} {what}; it can be written and locked")]


def _try_writing(scratch: Path) -> list[Finding]:
    """Writes, renames and locks a file in `scratch`; returns the problems. Raises OSError if it cannot be written."""
    file = scratch / "file"
    with replacing(file) as part:
        part.write_bytes(bytes(1 << 20))
        fsync(part)
    written = time.time()
    problems = []
    difference = file.stat().st_mtime - written
    if abs(difference) > _CLOCK_DIFFERENCE:
        problem = f"the clock of its file server differs by {difference:.0f} s from that of this machine"
        problems.append(warning("workdir", problem, cure="set both clocks, for example with timedatectl set-ntp true"))
    with file.open("a") as first, file.open("a") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            has_locks = False
        except BlockingIOError:
            has_locks = True
        except OSError:
            has_locks = False
    if not has_locks:
        problem = "its file system has no locks, so two runs may use it at once and destroy each other's checkpoints"
        problems.append(warning("workdir", problem, cure="start each run once, or mount NFS without nolock"))
    return problems


def _is_locked(lock: Path) -> bool:
    """Whether another process holds the lock file `lock` of a work directory."""
    with contextlib.suppress(OSError), lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def existing_parent(path: Path) -> Path:
    """Returns the path if it exists, otherwise the nearest directory above it that does."""
    return next(place for place in (path, *path.parents) if place.exists())
