"""Checks of the machine: memory, CPU cores, shared memory, limits of open files and processes, clock."""

import datetime
import os
import resource
from pathlib import Path

import psutil

import resnet_jax
from resnet_jax.data.shared_memory import READY_BATCHES
from resnet_jax.programs.doctor.finding import Finding, error, ok, warning

_CONTROL_GROUP = Path("/sys/fs/cgroup")
_LITTLE_MEMORY = 4e9  # bytes that a run of ResNet-50 with its decoding threads needs; with less the check warns
_FEW_FILES, _TOO_FEW_FILES = 4096, 256  # if fewer files may be open: warning, error; ImageNet has 1,024 files
_FEW_PROCESSES = 1024  # if fewer processes and threads may be started: warning; a run can have several hundred
_UNLIMITED = resource.RLIM_INFINITY


def memory(*, group: Path = _CONTROL_GROUP) -> list[Finding]:
    """Checks how much memory is free for this process."""
    total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    limit = _number(group / "memory.max")
    if limit is not None and limit < total:
        total, free = limit, min(free, max(0, limit - _used_memory(group)))
    text = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB are free"
    if free < _LITTLE_MEMORY:
        cure = "end other programs or use a larger machine; set --config.data.num_threads lower if a run is killed"
        return [warning("memory", text, cure=cure)]
    return [ok("memory", text)]


def _used_memory(group: Path) -> int:
    """Returns the bytes that a control group uses, without its file cache, which Linux frees when memory is short."""
    used = _number(group / "memory.current") or 0
    lines = (group / "memory.stat").read_text().splitlines() if (group / "memory.stat").exists() else []
    cached = [int(line.split()[1]) for line in lines if line.startswith("inactive_file ")]
    return used - sum(cached)


def _number(path: Path) -> int | None:
    """Returns the number in a file of a control group; None for 'max' or if there is no such file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def cores(*, group: Path = _CONTROL_GROUP) -> list[Finding]:
    """Checks how many CPU cores this process may use, and whether other programs are using them."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    text = f"{count} of {os.cpu_count()} may be used, load average {load:.1f}"
    try:
        quota, period = (group / "cpu.max").read_text().split()
        share = float(quota) / float(period)
    except (OSError, ValueError):  # no limit: the file does not exist, or it contains 'max 100000'
        share = float(count)
    if share < 0.9 * count:
        cure = f"raise the limit, or set --config.data.num_threads={max(1, round(share))}"
        return [warning("cores", f"{text}, and the container gets the time of {share:.1f} of them", cure=cure)]
    if load > 0.5 * count:
        return [warning("cores", text, cure="other programs are running: they slow the decoding of images")]
    return [ok("cores", text)]


def shared_memory(num_workers: int, batch_bytes: int, *, directory: str = "/dev/shm") -> list[Finding]:
    """Checks that there is enough shared memory, through which decoding processes pass batches.

    Args:
      num_workers: number of decoding processes; 0: images are decoded in threads, which need no shared memory.
      batch_bytes: size of a batch in bytes.
      directory: where the shared memory is mounted.
    """
    try:
        disk = os.statvfs(directory)
    except OSError:
        return [ok(directory, "does not exist on this system: shared memory needs no file system")]
    free, needed = disk.f_bavail * disk.f_frsize, num_workers * READY_BATCHES * batch_bytes
    text = f"{free / 1e9:.2f} GB are free, {needed / 1e9:.2f} GB needed by {num_workers} decoding processes"
    if needed > free:
        cure = "docker run --shm-size=8g, or decode in threads with --config.data.num_workers=0"
        return [error(directory, text, cure=cure)]
    return [ok(directory, text)]


def limits(*, group: Path = _CONTROL_GROUP) -> list[Finding]:
    """Checks the limits of open files, processes, address space and file size."""
    found = [*_file_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1]), *_process_limit(group)]
    space, size = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE))
    if space != _UNLIMITED:
        problem = f"the address space is limited to {space / 1e9:.0f} GB, and devices map their memory into it"
        found.append(warning("limits", problem, cure="ulimit -v unlimited"))
    if size != _UNLIMITED:
        problem = f"files are limited to {size / 1e9:.2f} GB"
        found.append(warning("limits", problem, cure="ulimit -f unlimited"))
    return found or [ok("limits", "of files, processes, address space and file size are high enough")]


def _file_limit(most: int) -> list[Finding]:
    """Returns a warning or an error if `most`, the hard limit of open files, is too low; [] if it is high enough."""
    if most == _UNLIMITED or most >= _FEW_FILES:
        return []
    problem = f"at most {most:,} files may be open"
    cure = "ulimit -n 65536, in a container --ulimit nofile=65536"
    return [error("limits", problem, cure=cure) if most < _TOO_FEW_FILES else warning("limits", problem, cure=cure)]


def _process_limit(group: Path) -> list[Finding]:
    own, most = resource.getrlimit(resource.RLIMIT_NPROC)[0], _number(group / "pids.max")
    found = []
    if own not in (_UNLIMITED, 0) and own < _FEW_PROCESSES and os.getuid() != 0:
        problem = f"a user may have at most {own:,} processes and threads"
        found.append(warning("limits", problem, cure="ulimit -u 65536"))
    left = most - (_number(group / "pids.current") or 0) if most is not None else _FEW_PROCESSES
    if left < _FEW_PROCESSES:
        problem = f"the container may start {left:,} more processes and threads"
        found.append(warning("limits", problem, cure="docker run --pids-limit=-1"))
    return found


def clock() -> list[Finding]:
    """Checks that the time is not before this program was installed, as on a machine whose clock was never set."""
    now, newest = datetime.datetime.now(datetime.UTC), _newest_file()
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now.timestamp() < newest - 60:
        cure = "set it, for example timedatectl set-ntp true: certificates and the order of starts depend on it"
        return [warning("clock", f"{text} is before this program was installed", cure=cure)]
    return [ok("clock", text)]


def _newest_file() -> float:
    folder = Path(resnet_jax.__file__).parent
    return max(path.stat().st_mtime for path in folder.glob("*.py"))
