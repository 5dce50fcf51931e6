"""Scaling of the loss, so that small gradients survive in float16 (Micikevicius et al. 2018, section 3.2)."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

MIN_SCALE, MAX_SCALE = 1.0, 2.0**24


@flax.struct.dataclass
class LossScale:
    """Multiplies the loss; the gradients are divided by it before they are used."""

    scale: jax.Array  # float32
    good_steps: jax.Array  # int32, in a row, since the scale last changed; not counted where it is constant
    skipped: jax.Array  # int32, steps without an update, for their gradients were not finite


def initial(scale: float) -> LossScale:
    """The state of step 0."""
    return LossScale(
        scale=jnp.asarray(scale, jnp.float32),
        good_steps=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
    )


def adjust(loss_scale: LossScale, finite: jax.Array, *, growth_steps: int | None) -> LossScale:
    """The state after one more training step.

    Args:
      loss_scale: the one that the step used.
      finite: bool, whether its gradients were all finite; if not, they are counted as skipped.
      growth_steps: the scale is doubled after so many good steps in a row and halved at every bad one, between
        `MIN_SCALE` and `MAX_SCALE`; None: it is constant.
    """
    skipped = loss_scale.skipped + jnp.logical_not(finite)
    if growth_steps is None:
        return dataclasses.replace(loss_scale, skipped=skipped)
    good_steps = jnp.where(finite, loss_scale.good_steps + 1, 0)
    grows = good_steps >= growth_steps
    larger = jnp.where(grows, jnp.minimum(2.0 * loss_scale.scale, MAX_SCALE), loss_scale.scale)
    smaller = jnp.maximum(0.5 * loss_scale.scale, MIN_SCALE)
    return LossScale(
        scale=jnp.where(finite, larger, smaller),
        good_steps=jnp.where(grows, 0, good_steps),
        skipped=skipped,
    )
