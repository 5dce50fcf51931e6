"""The device mesh and the two shardings of data-parallel training."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices (or those given) on one axis, `data`."""
    # In the order of the processes, for process p gives the p-th run of rows; jax.make_mesh would reorder them.
    ordered = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    # Auto: under Explicit, gathers, slices and sorts over a sharded batch raise.
    return Mesh(np.asarray(ordered), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: the training state."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis is split over the devices: a batch."""
    return NamedSharding(mesh, PartitionSpec("data"))
