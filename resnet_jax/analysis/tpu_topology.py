"""TPUs that need not be there: a program can be compiled for them on any machine."""

import importlib.util
import os
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from resnet_jax.errors import UsageError

# libtpu looks for the TPUs of this machine, even to compile for others; it reads this when it is loaded.
_LOOK_FOR_NONE = {
    "TPU_SKIP_MDS_QUERY": "1",  # ask no metadata server, which outside Google Cloud means to wait for one
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # any: without this and the next it complains at length
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # beside a run that has the TPUs, or another plan
}
_EXAMPLES = "v5e:4x4, v6e:16x16 or v4:4x4x4"


def topology_devices(name: str) -> Sequence[jax.Device]:
    """The devices of TPUs to compile for, with JAX itself on the CPU; to be called before JAX makes its devices.

    Args:
      name: the version and the chips along each axis, as 'v5e:4x4'.

    Raises:
      UsageError: there is no such topology, or libtpu is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UsageError(f"config.plan.topology={name!r} needs libtpu, which is not installed: pip install -e '.[tpu]'")
    os.environ.update(_LOOK_FOR_NONE)
    jax.config.update("jax_platforms", "cpu")  # TPUs and GPUs of this machine are left to those who use them
    jax.config.update("jax_enable_compilation_cache", False)  # programs of TPUs that are not there cannot be read back
    # As on Cloud TPU VMs, where the two cores of a v4 chip are one device; other versions have that by themselves.
    options = {"chip_config_name": "megacore"} if name.startswith("v4") else {}
    try:
        return topologies.get_topology_desc(name, platform="tpu", **options).devices
    except RuntimeError as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise UsageError(
            f"config.plan.topology={name!r} is no topology ({reason}): name a TPU version and the chips along each "
            f"axis, as {_EXAMPLES}"
        ) from None
