"""The device mesh and the two shardings of data-parallel training."""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices (or those given) on one axis, `data`."""
    devices = jax.devices() if devices is None else devices
    # Auto: under the default, Explicit, gathers, slices and sorts over a sharded batch raise.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: the training state."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis is split over the devices: a batch."""
    return NamedSharding(mesh, PartitionSpec("data"))
