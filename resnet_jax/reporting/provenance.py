"""Where and with what a run was started."""

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

_PACKAGES = (
    *("resnet_jax", "jax", "jaxlib", "libtpu", "flax", "optax"),
    *("orbax-checkpoint", "grain", "tensorflow-datasets", "clu"),
)


def describe_start(step: int) -> dict[str, Any]:
    """JSON values about this process: time, command, versions, devices, git commit and the step it starts at."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "start_step": step,
        "command": [sys.executable, *sys.argv],
        "versions": versions(),
        "git_commit": _git_commit(),
        "host": platform.node(),
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.devices()],
        "processes": jax.process_count(),
    }


def versions() -> dict[str, str | None]:
    """Of Python and of the packages that matter, by name."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of this code, with '-dirty' after it if files differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
