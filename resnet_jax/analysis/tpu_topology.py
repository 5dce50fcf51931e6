"""Describes TPUs that are not attached, so that programs can be compiled for them on any machine."""

import importlib.util
import os
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from resnet_jax.errors import UsageError

# libtpu searches for attached TPUs when it is loaded, even if it only compiles. These variables prevent the search.
_NO_TPU_SEARCH = {
    "TPU_SKIP_MDS_QUERY": "1",  # no query of the metadata server, which would time out outside Google Cloud
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # any value; without it and TPU_WORKER_HOSTNAMES libtpu logs many warnings
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # allow a training run or another plan on this machine at the same time
}
_EXAMPLES = "v5e:4x4, v6e:16x16 or v4:4x4x4"


def tpu_devices(name: str) -> Sequence[jax.Device]:
    """Returns the devices of a TPU topology, to compile for them.

    Must be called before JAX is initialized, since it sets JAX's platform to CPU.

    Args:
      name: TPU version and number of chips along each axis, such as 'v5e:4x4'.

    Raises:
      UsageError: the topology does not exist, or libtpu is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UsageError(f"config.plan.topology={name!r} needs libtpu, which is not installed: pip install -e '.[tpu]'")
    os.environ.update(_NO_TPU_SEARCH)
    jax.config.update("jax_platforms", "cpu")  # leave the accelerators of this machine to other processes
    jax.config.update("jax_enable_compilation_cache", False)  # the cache cannot load programs for absent devices
    # On Cloud TPU VMs the two cores of a v4 chip are one device ("megacore"); other versions need no option.
    options = {"chip_config_name": "megacore"} if name.startswith("v4") else {}
    try:
        return topologies.get_topology_desc(name, platform="tpu", **options).devices
    except RuntimeError as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise UsageError(
            f"config.plan.topology={name!r} is not a topology ({reason}): give a TPU version and the chips along each "
            f"axis, for example {_EXAMPLES}"
        ) from None
