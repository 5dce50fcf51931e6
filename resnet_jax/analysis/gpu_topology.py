"""Describes GPUs that are not attached, so that programs can be compiled for them on any Linux machine.

XLA's compiler for GPUs is in JAX's CUDA plugin. It needs neither a GPU nor a driver nor CUDA, only a description of the
GPU (`gpu_targets/`). The compiled programs differ from those for an attached GPU in two ways: they are not autotuned,
so matrix products use default tile sizes, and whether cuDNN supports each convolution is not checked.
"""

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path

import jax
import jaxlib
from jax.experimental import topologies

from resnet_jax.errors import UsageError

_TARGETS = Path(__file__).parent / "gpu_targets"
GPUS = tuple(sorted(path.stem for path in _TARGETS.glob("*.txtpb")))  # names of GPUs, such as 'a100'

_PER_HOST = 8  # number of GPUs in a machine, as in NVIDIA's DGX and HGX systems
_PLUGINS = ("jax-cuda13-plugin", "jax-cuda12-plugin")
_CURE = "pip install -e '.[gpu-plan]' (Linux; no NVIDIA packages)"


def gpu_devices(name: str) -> Sequence[jax.Device]:
    """Returns GPUs to compile for, which need not be attached.

    Must be called before JAX is initialized, since it sets JAX's platform to CPU.

    Args:
      name: one of `GPUS` and the number of devices, such as 'h100:8'; 'h100' means one device. More than 8 devices
        are hosts with 8 devices each.

    Raises:
      UsageError: the name is malformed, or the CUDA plugin is not installed or does not fit the installed JAX.
    """
    gpu, count = _parse(name)
    _check_plugin(name)
    jax.config.update("jax_platforms", "cpu")  # leave the accelerators of this machine to other processes
    jax.config.update("jax_enable_compilation_cache", False)  # the cache cannot load programs for absent devices
    hosts = max(1, count // _PER_HOST)
    shape = f"1x{hosts}x{count // hosts}"  # partitions x hosts x devices of a host
    target = (_TARGETS / f"{gpu}.txtpb").read_text()
    try:
        return topologies.get_topology_desc("", platform="cuda", topology=shape, target_config=target).devices
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise UsageError(
            f"config.plan.topology={name!r}: the CUDA plugin of JAX {jax.__version__} cannot compile for a GPU that is "
            f"not attached ({reason}): use JAX 0.12 and {_CURE}"
        ) from None


def gpu_of_kind(device_kind: str) -> str | None:
    """Returns which of `GPUS` has the JAX device kind `device_kind`, such as 'NVIDIA H200'; None if none has it."""
    wanted = f'device_description_str: "{device_kind}"'
    return next((gpu for gpu in GPUS if wanted in (_TARGETS / f"{gpu}.txtpb").read_text()), None)


def _parse(name: str) -> tuple[str, int]:
    """Splits 'h100:8' into the GPU and the number of devices."""
    match = re.fullmatch(r"(\w+)(?::(\d+))?", name)
    count = int(match[2] or 1) if match else 0
    if not match or match[1] not in GPUS or count < 1 or (count > _PER_HOST and count % _PER_HOST):
        raise UsageError(
            f"config.plan.topology={name!r} is not a topology: give one of {', '.join(GPUS)} and the number of "
            f"devices, 1 to {_PER_HOST} or a multiple of {_PER_HOST}, for example h100:8"
        )
    return match[1], count


def _check_plugin(name: str) -> None:
    """Raises UsageError if no CUDA plugin is installed, or one that was built for another jaxlib."""
    installed = next((versions for plugin in _PLUGINS if all(versions := _versions(plugin))), None)
    if installed is None:
        raise UsageError(f"config.plan.topology={name!r} needs JAX's CUDA plugin, which is not installed: {_CURE}")
    if set(installed) != {jaxlib.__version__}:
        raise UsageError(
            f"config.plan.topology={name!r}: JAX's CUDA plugin has version {installed[0]} and jaxlib "
            f"{jaxlib.__version__}; they must be the same: {_CURE}"
        )


def _versions(plugin: str) -> list[str | None]:
    """Returns the versions of the packages 'jax-cuda*-plugin' and 'jax-cuda*-pjrt'; None if one is not installed."""
    return [_version(plugin), _version(plugin.replace("plugin", "pjrt"))]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
