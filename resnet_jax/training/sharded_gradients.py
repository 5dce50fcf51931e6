"""Gradients of a batch that is split over devices, with one all-reduce after accumulation."""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jax.typing import DTypeLike

from resnet_jax.training.gradients import GradientFn, Gradients, IndexedBatch, Variables
from resnet_jax.training.metrics import Totals

_AXIS = "data"


def sum_over_devices(gradient_fn: GradientFn, mesh: Mesh, *, dtype: DTypeLike = jnp.float32) -> GradientFn:
    """Returns a gradient function in which each device computes on its own rows, followed by one all-reduce.

    Under plain jit, XLA all-reduces each gradient in the compute dtype once per micro-batch. This function sums over
    the devices only once, after accumulation.

    Args:
      gradient_fn: computes the gradients of the rows on one device. Rows interact only within a batch norm
        group, so every group must lie whole on one device.
      mesh: one axis, named 'data', over which the rows are split evenly.
      dtype: dtype of the gradients during the all-reduce; the sum is then divided by the number of devices in float32.
    """
    whole, rows = PartitionSpec(), PartitionSpec(_AXIS)

    def on_own_rows(variables: Variables, indexed: IndexedBatch, key: jax.Array, scale: jax.Array | float) -> Gradients:
        found, old = gradient_fn(variables, indexed, key, scale), variables["batch_stats"]
        # Sums the changes of the statistics, not the statistics, so that a statistic that no device changes keeps its
        # exact value.
        decreases = jax.tree.map(jnp.subtract, old, found.batch_stats)
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), found.params)
        params, decreases, examples = jax.lax.psum((params, decreases, _in_float32(found.examples)), _AXIS)
        params, decreases = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) / mesh.size, (params, decreases))
        examples = jax.tree.map(lambda total, own: total.astype(own.dtype), examples, found.examples)
        return Gradients(params, jax.tree.map(jnp.subtract, old, decreases), examples)

    return jax.shard_map(
        on_own_rows,
        mesh=mesh,
        in_specs=(whole, rows, whole, whole),
        out_specs=whole,
        check_vma=False,  # the check makes JAX insert a psum of its own for each gradient
    )


def _in_float32(examples: Totals) -> Totals:
    # Counts are exact in float32 up to 2^24. As int32, the counts would need an all-reduce of their own.
    return jax.tree.map(lambda total: total.astype(jnp.float32), examples)
