"""Describes a process that starts or continues a run: command, versions, host, devices and git commit."""

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

import resnet_jax

_PACKAGES = (
    *("jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin", "flax", "optax", "orbax-checkpoint"),
    *("grain", "tensorflow-datasets", "clu"),
)
_ROOT = Path(resnet_jax.__file__).parents[1]  # the checkout, or the site-packages that the wheel was installed into


def describe_start(step: int) -> dict[str, Any]:
    """Returns JSON values that describe this process, and the step from which it starts or continues training."""
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
    """Returns the versions of Python and of the main packages by name; None for a package that is not installed."""
    own = {"python": platform.python_version(), "resnet_jax": resnet_jax.__version__}
    return own | {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Returns the commit of the checkout, with '-dirty' if tracked files are modified; None for an installed wheel."""
    if not (_ROOT / ".git").exists():  # not a checkout: git would look in the directories above
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
