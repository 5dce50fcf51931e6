"""Learning rates as functions of the step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from resnet_jax.errors import UsageError

Schedule = Callable[[jax.Array | int], jax.Array]


def warmup_cosine(*, peak_lr: float, warmup_steps: int, total_steps: int) -> Schedule:
    """Linear from 0 to `peak_lr` over `warmup_steps`, then half a cosine that reaches 0 at `total_steps`.

    Warm-up is Goyal et al. 2017 (section 2.2), the cosine Loshchilov and Hutter 2017. A run no longer than its
    warm-up never leaves it.
    """

    def schedule(step: jax.Array | int) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)  # exact up to 2^24 steps
        warmup = peak_lr * step / max(1, warmup_steps)
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        cosine = peak_lr * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0)))
        return jnp.where(step < warmup_steps, warmup, cosine)

    return schedule


def create_schedule(name: str, **options: float) -> Schedule:
    """Makes a schedule by name with the options of its function.

    Raises:
      UsageError: no such schedule.
    """
    if name not in SCHEDULES:
        raise UsageError(f"schedule.name={name!r} is not one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name](**options)


SCHEDULES: dict[str, Callable[..., Schedule]] = {"warmup_cosine": warmup_cosine}
