"""The device mesh and the two shardings of data-parallel training: replicated, and split over the batch."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of one axis, `data`, over the given devices; None: over all devices of all processes."""
    # Ordered by process: process p loads the p-th slice of each batch. jax.make_mesh would reorder the devices.
    ordered = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    # Auto: with Explicit axes, gathers, slices and sorts over a sharded batch raise.
    return Mesh(np.asarray(ordered), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array. Used for the training state."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis is split over the devices. Used for batches."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_on_devices(tree: Any, sharding: Sharding) -> Any:
    """Puts host arrays, equal on every process, onto the devices of `sharding`, without communication."""
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(np.shape(leaf), sharding, lambda index: np.asarray(leaf)[index]), tree
    )


def make_microbatch_split(mesh: Mesh, *, num_microbatches: int) -> Callable[[Any], Any]:
    """Returns a function that splits a global batch into micro-batches: [B, ...] -> [num_microbatches, m, ...].

    With m = B / num_microbatches, micro-batch i holds the rows i * m to (i + 1) * m - 1, split over the devices.

    Args:
      mesh: the mesh of the batch; `num_microbatches` times its size must divide B.
      num_microbatches: number of micro-batches.
    """
    spread = NamedSharding(mesh, PartitionSpec(None, "data"))

    def split(leaf: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(leaf.reshape(num_microbatches, -1, *leaf.shape[1:]), spread)

    return lambda tree: jax.tree.map(split, tree)
