"""The device mesh and the two shardings of data-parallel training."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding


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


def put_on_devices(tree: Any, sharding: Sharding) -> Any:
    """Puts arrays that every process has onto the devices of all; no process waits for another."""
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(np.shape(leaf), sharding, lambda index: np.asarray(leaf)[index]), tree
    )


def make_split(mesh: Mesh, *, parts: int) -> Callable[[Any], Any]:
    """Returns the function that takes a global batch apart: leaves [B, ...] -> [parts, B / parts, ...].

    The parts are consecutive rows, each spread over the devices.

    Args:
      mesh: its devices share every part; `parts` times their number divides B.
      parts: how many.
    """
    spread = NamedSharding(mesh, PartitionSpec(None, "data"))

    def split(leaf: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(leaf.reshape(parts, -1, *leaf.shape[1:]), spread)

    return lambda tree: jax.tree.map(split, tree)
