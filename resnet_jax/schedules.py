"""Learning rates as functions of the step."""

from collections.abc import Callable

import jax
import optax

from resnet_jax.errors import UsageError

Schedule = Callable[[jax.Array | int], jax.Array]


def warmup_cosine(*, peak_lr: float, warmup_steps: int, total_steps: int) -> Schedule:
    """Linear from 0 to `peak_lr` over `warmup_steps`, then half a cosine that reaches 0 at `total_steps`.

    Warm-up is Goyal et al. 2017 (section 2.2), the cosine Loshchilov and Hutter 2017. A run no longer than its
    warm-up never leaves it.
    """
    cosine = optax.cosine_decay_schedule(peak_lr, decay_steps=max(1, total_steps - warmup_steps))
    if warmup_steps == 0:
        return cosine
    return optax.join_schedules([optax.linear_schedule(0.0, peak_lr, warmup_steps), cosine], [warmup_steps])


def create_schedule(name: str, **options: float) -> Schedule:
    """Makes a schedule by name with the options of its function.

    Raises:
      UsageError: no such schedule.
    """
    if name not in SCHEDULES:
        raise UsageError(f"schedule.name={name!r} is not one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name](**options)


SCHEDULES: dict[str, Callable[..., Schedule]] = {"warmup_cosine": warmup_cosine}
