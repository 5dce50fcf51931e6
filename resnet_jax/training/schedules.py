"""Learning rates as functions of the step: a linear warm-up to the peak, then a decay."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The learning rate of a step. Steps count from 0; the rate is that of the update which leads to step + 1.

    Attributes:
      name: a key of `DECAYS`: what follows the warm-up.
      peak_lr: the rate at the end of the warm-up.
      warmup_steps: length of the warm-up, which is linear (Goyal et al. 2017, section 2.2).
      warmup_start: the rate of step 0 of a warm-up, as a share of the peak.
      decay_steps: the step from which on the rate is `end`; need not be whole (cosine, polynomial, linear).
      end: the last rate, as a share of the peak (likewise).
      power: of the polynomial.
      boundaries: the last steps of all factors but the last; increasing (piecewise).
      factors: of the peak, before, between and after the boundaries (piecewise).
    """

    name: str
    peak_lr: float
    warmup_steps: int
    warmup_start: float
    decay_steps: float
    end: float
    power: float
    boundaries: tuple[int, ...]
    factors: tuple[float, ...]

    def __call__(self, step: jax.Array | np.ndarray | int) -> jax.Array:
        """Returns the rates of steps, float32 in their shape. A run no longer than its warm-up never leaves it."""
        step = jnp.asarray(step, jnp.float32)  # exact up to 2^24 steps
        warmup = self.warmup_start + (1.0 - self.warmup_start) * step / max(1, self.warmup_steps)
        return self.peak_lr * jnp.where(step < self.warmup_steps, warmup, DECAYS[self.name](self, step))

    @property
    def moments(self) -> list[int]:
        """The steps that tell its shape: where the warm-up starts and ends, where the rate jumps, how it falls."""
        if self.name == "piecewise":
            decay = [step for boundary in self.boundaries for step in (boundary, boundary + 1)]
        elif self.name == "constant":
            decay = []
        else:
            length = self.decay_steps - self.warmup_steps
            decay = [round(self.warmup_steps + length * quarter / 4) for quarter in (1, 2, 3, 4)]
        return sorted({0, self.warmup_steps, *decay})

    def remaining(self, step: jax.Array) -> jax.Array:
        """How much of the decay is still to come: 1 at the end of the warm-up, 0 from `decay_steps` on."""
        # Of the difference, for the rates near the end are as exact then as the others.
        left = (self.decay_steps - step) / max(1, self.decay_steps - self.warmup_steps)
        return jnp.clip(left, 0.0, 1.0)


def cosine(schedule: Schedule, step: jax.Array) -> jax.Array:
    """Half a cosine from the peak to the end (Loshchilov and Hutter 2017)."""
    # The same as (1 + cos(pi * done)) / 2, which cancels near the end.
    return _between(schedule.end, jnp.square(jnp.sin(0.5 * jnp.pi * schedule.remaining(step))))


def polynomial(schedule: Schedule, step: jax.Array) -> jax.Array:
    """A power of what remains, from the peak to the end: `tf.train.polynomial_decay`.

    r1 with LARS has power 2, 1e-4 / peak as `end` and 90 epochs + 1 step as `decay_steps`.
    """
    return _between(schedule.end, schedule.remaining(step) ** schedule.power)


def linear(schedule: Schedule, step: jax.Array) -> jax.Array:
    """A straight line from the peak to the end."""
    return _between(schedule.end, schedule.remaining(step))


def piecewise(schedule: Schedule, step: jax.Array) -> jax.Array:
    """One factor after the other; at a boundary the old one still holds: `tf.train.piecewise_constant`, as r1."""
    factor = jnp.full_like(step, schedule.factors[0])
    for boundary, following in zip(schedule.boundaries, schedule.factors[1:], strict=True):
        factor = jnp.where(step > boundary, following, factor)
    return factor


def constant(schedule: Schedule, step: jax.Array) -> jax.Array:
    """The peak for ever."""
    del schedule
    return jnp.ones_like(step)


def _between(end: float, share: jax.Array) -> jax.Array:
    return end + (1.0 - end) * share


DECAYS: dict[str, Callable[[Schedule, jax.Array], jax.Array]] = {
    "cosine": cosine,
    "piecewise": piecewise,
    "polynomial": polynomial,
    "linear": linear,
    "constant": constant,
}


def create_schedule(name: str, **options: Any) -> Schedule:
    """Makes a schedule by name.

    Args:
      name: a key of `DECAYS`.
      **options: the other attributes of `Schedule`, all of them.

    Raises:
      UsageError: no such schedule, or boundaries and factors that do not fit together.
    """
    if name not in DECAYS:
        raise UsageError(f"config.schedule.name={name!r} is not one of {', '.join(DECAYS)}")
    schedule = Schedule(name, **options)
    if name == "piecewise":
        _check_pieces(schedule.boundaries, schedule.factors)
    return schedule


def _check_pieces(boundaries: tuple[int, ...], factors: tuple[float, ...]) -> None:
    if len(factors) != len(boundaries) + 1:
        raise UsageError(
            f"config.schedule.factors has {len(factors)} entries and config.schedule.boundaries {len(boundaries)}: "
            "there must be one more factor than boundaries"
        )
    # Equal steps are what short epochs leave of different ones.
    if list(boundaries) != sorted(boundaries):
        raise UsageError(f"config.schedule.boundaries must increase; in steps they are {boundaries}")


def rate_table(schedule: Schedule, *, total_steps: int, steps_per_epoch: float) -> list[str]:
    """The lines of a table of the rates of a run, at the moments that tell its shape."""
    last = total_steps - 1
    steps = [step for step in schedule.moments if step < last] + [last]
    rates = jax.jit(schedule)(np.asarray(steps))
    rows = [
        (f"{step / steps_per_epoch:.2f}", f"{step:,}", f"{rate:.4g}")
        for step, rate in zip(steps, np.asarray(rates), strict=True)
    ]
    rows = [("epoch", "step", "rate"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["   ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
