"""Loss scaling: keeps small gradients representable in float16 (Micikevicius et al. 2018, section 3.2)."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

MIN_SCALE, MAX_SCALE = 1.0, 2.0**24


@flax.struct.dataclass
class LossScale:
    """The loss scale, by which the loss is multiplied and its gradients are divided, and counters of training steps."""

    scale: jax.Array  # float32 scalar
    good_steps: jax.Array  # int32, consecutive steps with finite gradients since the scale changed; see `adjust`
    skipped: jax.Array  # int32, steps without an update because their gradients were not finite


def initial(scale: float) -> LossScale:
    """Returns the state of loss scaling before the first step, with the given scale and counters of 0."""
    return LossScale(
        scale=jnp.asarray(scale, jnp.float32),
        good_steps=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
    )


def adjust(loss_scale: LossScale, finite: jax.Array, *, growth_steps: int | None) -> LossScale:
    """Returns the loss scale after one more training step.

    Args:
      loss_scale: the loss scale that the step used.
      finite: bool scalar, whether all gradients of the step were finite; if not, the step counts as skipped.
      growth_steps: consecutive steps with finite gradients after which the scale doubles; a step with gradients that
        are not finite halves it. The scale stays between `MIN_SCALE` and `MAX_SCALE`. None: the scale is constant.
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
