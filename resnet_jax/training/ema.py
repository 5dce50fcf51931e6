"""Exponential moving averages of parameters and statistics."""

from typing import Any

import jax
import jax.numpy as jnp


def update_average(average: Any, values: Any, *, step: jax.Array, decay: float, every_steps: int) -> Any:
    """The average after one more training step: average <- weight * average + (1 - weight) * values.

    Every so many steps, from the first one on. Update n, from 0, has weight min(decay, (1 + n) / (10 + n)), so that
    the initial values are soon forgotten: `tf.train.ExponentialMovingAverage` with `num_updates` = n.

    Args:
      average: a tree of float32 arrays; it starts as a copy of the initial values.
      values: the same tree, after the training step.
      step: number of the training step, int32, from 0.
      decay: largest weight of the old average, 0 <= decay < 1.
      every_steps: the average stays as it is at all steps but the multiples of this.
    """
    updates = (step // every_steps).astype(jnp.float32)
    share = jnp.maximum(1.0 - decay, 9.0 / (10.0 + updates))  # of the values: 1 - weight, without its cancellation
    due = step % every_steps == 0
    # Not `lax.cond`, for which a GPU waits for the host; reading everything for nothing costs less. Written so that the
    # average of what does not change stays bit by bit: old - 0 is old, old + 0 makes +0 of -0.
    return jax.tree.map(lambda old, new: jnp.where(due, old - share * (old - new), old), average, values)
