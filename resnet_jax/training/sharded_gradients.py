"""Gradients of a batch whose rows lie on several devices, summed over them at one place."""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jax.typing import DTypeLike

from resnet_jax.training.gradients import GradientFn, Gradients, IndexedBatch, Variables
from resnet_jax.training.metrics import Totals

_AXIS = "data"


def over_devices(gradient_fn: GradientFn, mesh: Mesh, *, dtype: DTypeLike) -> GradientFn:
    """Returns a function of the same result in which each device computes with its own rows alone.

    XLA, left to itself, sums each gradient where it arises: in the type of the activations, and in a loop over the
    parts of a batch once a part. Here it is done once, when all rows of a device are through.

    Args:
      gradient_fn: needs nothing of other rows than those of a batch norm group, and no device has part of a group.
      mesh: of one axis, over which rows are split evenly.
      dtype: in which gradients are summed; they are averaged in float32.
    """
    whole, rows = PartitionSpec(), PartitionSpec(_AXIS)

    def own_rows(variables: Variables, rows: IndexedBatch, key: jax.Array, scale: jax.Array | float) -> Gradients:
        found, old = gradient_fn(variables, rows, key, scale), variables["batch_stats"]
        # What no device changes stays bit by bit.
        decreases = jax.tree.map(jnp.subtract, old, found.batch_stats)
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), found.params)
        params, decreases, examples = jax.lax.psum((params, decreases, _in_float32(found.examples)), _AXIS)
        params, decreases = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) / mesh.size, (params, decreases))
        examples = jax.tree.map(lambda total, own: total.astype(own.dtype), examples, found.examples)
        return Gradients(params, jax.tree.map(jnp.subtract, old, decreases), examples)

    return jax.shard_map(
        own_rows,
        mesh=mesh,
        in_specs=(whole, rows, whole, whole),
        out_specs=whole,
        check_vma=False,  # else it sums the gradients itself, where they arise
    )


def _in_float32(examples: Totals) -> Totals:
    # Counts are exact up to 2^24, and integers would be summed in an exchange of their own.
    return jax.tree.map(lambda total: total.astype(jnp.float32), examples)
