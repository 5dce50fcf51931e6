"""Checks of the accelerators: the driver of NVIDIA GPUs, the devices that JAX finds, and an all-reduce over them."""

import importlib.metadata
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from resnet_jax.programs.doctor.finding import Finding, error, ok, skipped, warning

# Package -> smallest major version of NVIDIA's driver that it works with. Source: "CUDA Compatibility",
# docs.nvidia.com/deploy, section on minor version compatibility: CUDA 12 needs driver 525, CUDA 13 needs driver 580.
CUDA_PLUGINS = {"jax-cuda12-plugin": 525, "jax-cuda13-plugin": 580}
_QUERY = "name,driver_version,memory.total,memory.used"
_SHARE_IN_USE = 0.1  # share of a GPU's memory; if other programs use more, the check warns
_GRADIENT_BYTES = 102_400_000  # size of the gradient of ResNet-50: about 25.6 million float32 numbers


class Gpu(NamedTuple):
    """A GPU as nvidia-smi describes it."""

    name: str
    driver: str  # version of the driver
    total_mb: int  # memory in MB
    used_mb: int  # memory that all programs together use, in MB


class DriverError(Exception):
    """nvidia-smi is installed, but fails."""


def nvidia_gpus() -> list[Gpu]:
    """Returns the NVIDIA GPUs of this machine; [] if nvidia-smi is not installed. Raises DriverError if it fails."""
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        return []
    except (OSError, subprocess.TimeoutExpired) as wrong:
        raise DriverError(str(wrong)) from None
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    try:
        return [Gpu(name, driver, int(total), int(used)) for name, driver, total, used in rows]
    except ValueError:
        raise DriverError(" ".join((done.stdout + done.stderr).split())[:200]) from None


def driver(*, devices: Path = Path("/dev")) -> list[Finding]:
    """Checks the driver of NVIDIA GPUs, JAX's plugin for them, and their free memory; [] without such GPUs."""
    try:
        gpus = nvidia_gpus()
    except DriverError as wrong:
        cure = "restart the machine or install the driver again; start a container with --gpus all"
        return [error("driver", f"nvidia-smi does not work ({wrong})", cure=cure)]
    if not gpus:
        if list(devices.glob("nvidia[0-9]*")):
            cure = "install NVIDIA's driver; start a container with --gpus all"
            return [error("driver", f"{devices} has NVIDIA GPUs, and nvidia-smi shows none", cure=cure)]
        return []
    plugins = [name for name in CUDA_PLUGINS if _is_installed(name)]
    about = f"{len(gpus)} x {gpus[0].name}, driver {gpus[0].driver}"
    if not plugins:
        return [error("driver", f"{about}, and JAX has no plugin for GPUs", cure="pip install -e '.[cuda13]'")]
    needed = min(CUDA_PLUGINS[name] for name in plugins)
    major = re.match(r"\d+", gpus[0].driver)
    if major and int(major[0]) < needed:
        cure = f"install driver {needed} or newer" + (", or pip install -e '.[cuda12]'" if needed > 525 else "")
        return [error("driver", f"{about} is too old for {' and '.join(plugins)}", cure=cure)]
    return [*_in_use(gpus)] or [ok("driver", about)]


def _is_installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def _in_use(gpus: Sequence[Gpu]) -> list[Finding]:
    used = [f"{gpu.used_mb:,} of {gpu.total_mb:,} MB" for gpu in gpus if gpu.used_mb > _SHARE_IN_USE * gpu.total_mb]
    cure = "end them (nvidia-smi lists them): JAX takes three quarters of the memory at its start"
    return [warning("driver", f"other programs use GPU memory, {used[0]} on one", cure=cure)] if used else []


def has_accelerator(*, devices: Path = Path("/dev")) -> str:
    """Returns the kind of accelerator that the machine has, 'GPU' or 'TPU'; '' if there is none."""
    if list(devices.glob("nvidia[0-9]*")):
        return "GPU"
    return "TPU" if list(devices.glob("accel[0-9]*")) or list((devices / "vfio").glob("[0-9]*")) else ""


def jax_devices() -> list[Finding]:
    """Checks that JAX finds the accelerators of this machine."""
    import jax  # noqa: PLC0415  it takes a second to load

    asked = os.environ.get("JAX_PLATFORMS", "")
    try:
        devices = jax.devices()
    except Exception as wrong:  # JAX and its plugins raise errors of many types
        cure = f"JAX_PLATFORMS={asked} is set: unset it" if asked else "see the lines about packages and driver"
        return [error("devices", f"JAX cannot start ({' '.join(str(wrong).split())[:300]})", cure=cure)]
    first, there = devices[0], has_accelerator()
    kind = first.device_kind if first.device_kind != first.platform else ""
    text = f"{len(devices)} x {first.platform} {kind}".strip()
    if first.platform == "cpu" and there:
        extra = "cuda13" if there == "GPU" else "tpu"
        cure = f"unset JAX_PLATFORMS={asked}" if asked else f"pip install -e '.[{extra}]'"
        return [error("devices", f"JAX uses {text}, and the machine has a {there}", cure=cure)]
    if first.platform == "cpu":
        cure = "enough for small images; ImageNet needs a GPU or a TPU"
        return [warning("devices", f"{text}, no accelerator", cure=cure)]
    memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return [ok("devices", text + (f", {memory / 1e9:.1f} GB each for JAX" if memory else ""))]


def all_reduce(*, seconds: float = 2.0) -> list[Finding]:
    """Repeats an all-reduce of the size of ResNet-50's gradient for about two seconds; checks the sum and the speed."""
    from resnet_jax.analysis.measure.all_reduce import measure_all_reduce  # noqa: PLC0415  it loads JAX
    from resnet_jax.distributed.mesh import make_mesh  # noqa: PLC0415

    mesh = make_mesh()
    if mesh.size == 1:
        return [skipped("all-reduce", "there is only one device")]
    measured = measure_all_reduce(mesh, num_bytes=_GRADIENT_BYTES, seconds=seconds)
    text = (
        f"{mesh.size} devices sum {_GRADIENT_BYTES / 1e6:.0f} MB in {1000 * measured.seconds:.1f} ms, "
        f"{measured.bus_bytes_per_second / 1e9:.2f} GB/s ({measured.repetitions} times)"
    )
    if not measured.is_exact:
        cure = "a device, a cable or a driver is faulty: leave hosts out until the sum is right"
        return [error("all-reduce", f"{text}, and the sum is wrong", cure=cure)]
    return [ok("all-reduce", text)]
