"""Learning rate schedules: a linear warm-up to the peak, then a decay."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Function from the step to the learning rate. Steps count from 0: step k is the update from state k to k + 1.

    The attributes are the arguments of `create_schedule`.
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
        """Returns the learning rate of each step in `step`, as float32 of the shape of `step`."""
        step = jnp.asarray(step, jnp.float32)  # exact up to 2^24 steps
        warmup = self.warmup_start + (1.0 - self.warmup_start) * step / max(1, self.warmup_steps)
        return self.peak_lr * jnp.where(step < self.warmup_steps, warmup, DECAYS[self.name](self, step))

    @property
    def moments(self) -> list[int]:
        """Steps that `rate_table` shows: ends of the warm-up, both sides of each jump, quarters of a smooth decay."""
        if self.name == "piecewise":
            decay = [step for boundary in self.boundaries for step in (boundary, boundary + 1)]
        elif self.name == "constant":
            decay = []
        else:
            length = self.decay_steps - self.warmup_steps
            decay = [round(self.warmup_steps + length * quarter / 4) for quarter in (1, 2, 3, 4)]
        return sorted({0, self.warmup_steps, *decay})

    def remaining(self, step: jax.Array) -> jax.Array:
        """Returns the fraction of the decay that is left: 1 at the end of the warm-up, 0 from `decay_steps` on."""
        # Computed from the steps left: 1 - (fraction done) would lose precision near the end.
        left = (self.decay_steps - step) / max(1, self.decay_steps - self.warmup_steps)
        return jnp.clip(left, 0.0, 1.0)


def cosine(schedule: Schedule, step: jax.Array) -> jax.Array:
    """Learning rate as a fraction of the peak: half a cosine from the peak to `end` (Loshchilov and Hutter 2017)."""
    # Equals (1 + cos(pi * (1 - remaining))) / 2, but loses no precision to cancellation near the end.
    return _between(schedule.end, jnp.square(jnp.sin(0.5 * jnp.pi * schedule.remaining(step))))


def polynomial(schedule: Schedule, step: jax.Array) -> jax.Array:
    """A power of the fraction of the decay that is left, from the peak to `end`, as `tf.train.polynomial_decay`.

    The r1.x ResNet of the TensorFlow Models repository uses it with LARS: power 2, `end` = 1e-4 / peak_lr,
    `decay_steps` = 90 epochs + 1 step.
    """
    return _between(schedule.end, schedule.remaining(step) ** schedule.power)


def linear(schedule: Schedule, step: jax.Array) -> jax.Array:
    """A straight line from the peak to `end`."""
    return _between(schedule.end, schedule.remaining(step))


def piecewise(schedule: Schedule, step: jax.Array) -> jax.Array:
    """A constant factor up to and including each boundary step, as `tf.train.piecewise_constant`."""
    factor = jnp.full_like(step, schedule.factors[0])
    for boundary, following in zip(schedule.boundaries, schedule.factors[1:], strict=True):
        factor = jnp.where(step > boundary, following, factor)
    return factor


def constant(schedule: Schedule, step: jax.Array) -> jax.Array:
    """The peak learning rate at every step."""
    del schedule
    return jnp.ones_like(step)


def _between(end: float, fraction: jax.Array) -> jax.Array:
    """Interpolates linearly: returns `end` for fraction 0, and 1 for fraction 1."""
    return end + (1.0 - end) * fraction


DECAYS: dict[str, Callable[[Schedule, jax.Array], jax.Array]] = {
    "cosine": cosine,
    "piecewise": piecewise,
    "polynomial": polynomial,
    "linear": linear,
    "constant": constant,
}


def create_schedule(  # noqa: PLR0913, an argument for each key of the config section
    name: str = "cosine",
    *,
    peak_lr: float,
    decay_steps: float | None = None,
    warmup_steps: int = 0,
    warmup_start: float = 0.0,
    end: float = 0.0,
    power: float = 2.0,
    boundaries: tuple[int, ...] = (),
    factors: tuple[float, ...] = (1.0, 0.1, 0.01, 0.001),
) -> Schedule:
    """Returns a schedule by name. The defaults are those of `configs/resnet50.py`, without its 5 epochs of warm-up.

    Args:
      name: the decay after the warm-up: 'cosine', 'piecewise', 'polynomial', 'linear' or 'constant'.
      peak_lr: learning rate at the end of the warm-up; `configs/resnet50.py` has 0.1 for each 256 images of the batch.
      decay_steps: first step whose learning rate is `end`, usually the number of steps of the run; need not be an
        integer. Required by 'cosine', 'polynomial' and 'linear', ignored by the others.
      warmup_steps: length of the linear warm-up (Goyal et al. 2017, section 2.2).
      warmup_start: learning rate of step 0 of a warm-up, as a fraction of the peak.
      end: final learning rate, as a fraction of the peak (cosine, polynomial, linear).
      power: exponent (polynomial).
      boundaries: last step at which each factor applies, increasing; the last factor has none (piecewise).
      factors: fractions of the peak before, between and after the boundaries (piecewise).

    Raises:
      UsageError: the name is unknown, `decay_steps` is missing, or the boundaries do not increase or do not match the
        factors.
    """
    if name not in DECAYS:
        raise UsageError(f"config.schedule.name={name!r} is not one of {', '.join(DECAYS)}")
    if name == "piecewise":
        _check_pieces(boundaries, factors)
    if decay_steps is None:
        if name not in ("piecewise", "constant"):
            raise UsageError(f"schedule {name!r} needs decay_steps, the step at which the decay ends")
        decay_steps = 0.0
    return Schedule(name, peak_lr, warmup_steps, warmup_start, decay_steps, end, power, boundaries, factors)


def _check_pieces(boundaries: tuple[int, ...], factors: tuple[float, ...]) -> None:
    if len(factors) != len(boundaries) + 1:
        raise UsageError(
            f"config.schedule.factors has {len(factors)} entries and config.schedule.boundaries {len(boundaries)}: "
            "there must be one more factor than boundaries"
        )
    # Equal steps are allowed: boundaries that differ in epochs may round to the same step.
    if list(boundaries) != sorted(boundaries):
        raise UsageError(f"config.schedule.boundaries must increase; in steps they are {boundaries}")


def rate_table(schedule: Schedule, *, total_steps: int, steps_per_epoch: float) -> list[str]:
    """Returns the lines of a table of epoch, step and learning rate, at `Schedule.moments` and the last step."""
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
