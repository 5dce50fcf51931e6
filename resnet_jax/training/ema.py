"""Exponential moving averages of parameters and batch norm statistics."""

from typing import Any

import jax
import jax.numpy as jnp


def update_average(average: Any, values: Any, *, step: jax.Array, decay: float, every_steps: int = 1) -> Any:
    """Returns the average after one more training step: average <- weight * average + (1 - weight) * values.

    The average is updated only at steps that are multiples of `every_steps`. Update n, counted from 0, has the weight
    min(decay, (1 + n) / (10 + n)), as `tf.train.ExponentialMovingAverage` with `num_updates` = n. This weight of the
    old average is small at first, so that the random initial values soon stop mattering.

    Args:
      average: tree of float32 arrays; before the first step, a copy of the initial values.
      values: tree of the same structure, with the values after the training step.
      step: int32 scalar, index of the training step, from 0.
      decay: largest weight of the old average, 0 <= decay < 1.
      every_steps: steps between updates; the average does not change in between.
    """
    updates = (step // every_steps).astype(jnp.float32)
    new_weight = jnp.maximum(1.0 - decay, 9.0 / (10.0 + updates))  # = 1 - min(decay, (1 + updates) / (10 + updates))
    due = step % every_steps == 0
    # `where`, not `lax.cond`: a GPU must send the condition of `cond` to the host, which costs more than reading both
    # trees at every step. `old - w * (old - new)` returns exactly `old` if new == old; `old + w * (new - old)` would
    # turn -0 into +0.
    return jax.tree.map(lambda old, new: jnp.where(due, old - new_weight * (old - new), old), average, values)
