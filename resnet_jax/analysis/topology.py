"""Makes JAX devices that are not attached from the name of a topology, so that programs can be compiled for them."""

import re
from collections.abc import Sequence

import jax

from resnet_jax.analysis.gpu_topology import GPUS, gpu_devices
from resnet_jax.analysis.tpu_topology import tpu_devices
from resnet_jax.errors import UsageError


def topology_devices(name: str) -> Sequence[jax.Device]:
    """Returns the devices of a topology, to compile for them.

    Must be called before JAX is initialized, since it sets JAX's platform to CPU.

    Args:
      name: a TPU version and the number of chips along each axis, such as 'v5e:4x4', or a GPU and the number of GPUs,
        such as 'h100:8'.

    Raises:
      UsageError: the topology does not exist, or the compiler for it is not installed.
    """
    if name.partition(":")[0] in GPUS:
        return gpu_devices(name)
    if re.match(r"(v|tpu)\d", name):
        return tpu_devices(name)
    raise UsageError(
        f"config.plan.topology={name!r} is not a topology: give a TPU version and the chips along each axis, for "
        f"example v5e:4x4, or a GPU and how many of them, for example h100:8; GPUs: {', '.join(GPUS)}"
    )
