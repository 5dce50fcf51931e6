"""The device mesh and the two shardings of data-parallel training: replicated, and split over the batch."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh with one axis, `data`, over `devices`; None: over all devices of all processes."""
    # Ordered by process: process p loads the p-th slice of each batch. jax.make_mesh would reorder the devices.
    ordered = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    # AxisType.Auto, since with AxisType.Explicit gathers, slices and sorts of a sharded batch raise an error.
    return Mesh(np.asarray(ordered), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of the training state: every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of batches: the first axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_on_devices(tree: Any, sharding: Sharding) -> Any:
    """Puts host arrays on the devices of `sharding`. Every process must pass equal arrays; nothing is communicated."""
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(np.shape(leaf), sharding, lambda index: np.asarray(leaf)[index]), tree
    )


def make_microbatch_split(mesh: Mesh, *, num_microbatches: int) -> Callable[[Any], Any]:
    """Returns a function that splits a global batch into micro-batches: [B, ...] -> [num_microbatches, m, ...].

    With m = B / num_microbatches, micro-batch i has the rows i * m to (i + 1) * m - 1 of the batch, split over the
    devices.

    Args:
      mesh: the mesh of the batch; B must be a multiple of num_microbatches * number of devices.
      num_microbatches: number of micro-batches.
    """
    spread = NamedSharding(mesh, PartitionSpec(None, "data"))

    def split(leaf: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(leaf.reshape(num_microbatches, -1, *leaf.shape[1:]), spread)

    return lambda tree: jax.tree.map(split, tree)
