"""When a run evaluates, saves, logs and ends, in steps."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.config_keys import LARGEST_INT
from resnet_jax.errors import UsageError

_MOST_EVALUATIONS = 1_000_000
_FEWEST_INTERVALS = 3  # log.every_steps is ignored if the run is shorter than this many such intervals


@dataclasses.dataclass(frozen=True)
class Milestones:
    """The steps at which a run evaluates, saves, logs and ends. Step s is the state after s updates."""

    total_steps: int  # last step of the run
    schedule_steps: int  # last step of the learning rate schedule; more than `total_steps` if train.max_steps is less
    steps_per_epoch: float
    eval_every_steps: float  # evaluation k is at step round(k * eval_every_steps)
    eval_before_training: bool
    stop_at: float | None  # top-1 accuracy in 0..1 that ends the run; None: no such target
    checkpoint_every_steps: int | None  # None: checkpoints only at evaluations
    log_every_steps: int
    log_first_step: bool

    def evaluation_due(self, step: int) -> bool:
        """Whether to evaluate at `step`; the last step is always evaluated."""
        if step == 0:
            return self.eval_before_training
        nearest = round(round(step / self.eval_every_steps) * self.eval_every_steps)
        return step in (nearest, self.total_steps)

    def checkpoint_due(self, step: int) -> bool:
        """Whether to save a checkpoint at `step` even if there is no evaluation."""
        return step > 0 and self.checkpoint_every_steps is not None and step % self.checkpoint_every_steps == 0

    def log_due(self, step: int) -> bool:
        """Whether to log metrics: every `log_every_steps`, at the last step and, with `log_first_step`, at step 1."""
        first = self.log_first_step and step == 1
        return first or step % self.log_every_steps == 0 or step == self.total_steps

    def good_enough(self, evaluation: dict[str, Any] | None) -> bool:
        """Whether an evaluation reaches `stop_at`; its `top1` is in 0..1, or None if it was not finite."""
        return self.stop_at is not None and evaluation is not None and (evaluation["top1"] or 0.0) >= self.stop_at

    def stop_reason(self, step: int, evaluation: dict[str, Any] | None) -> str:
        """Why a run ended at `step`: 'completed', 'max_steps', 'stop_at' or 'signal'.

        Args:
          step: number of updates done.
          evaluation: result of the evaluation at this step; None: the state was not evaluated.
        """
        if self.good_enough(evaluation):
            return "stop_at"
        if step < self.total_steps or (step == self.total_steps and evaluation is None):
            return "signal"
        return "completed" if step >= self.schedule_steps else "max_steps"


def make_milestones(config: ConfigDict, num_examples: int) -> Milestones:
    """Converts the epochs of a config into steps, for a training set of `num_examples`."""
    steps_per_epoch = num_examples / config.data.batch_size
    schedule_steps = config.train.total_steps or max(1, round(config.train.epochs * steps_per_epoch))
    schedule_epoch = _schedule_epoch(config, steps_per_epoch)
    total_steps = min(schedule_steps, config.train.max_steps or schedule_steps)
    _check_steps(
        {
            "train.epochs": schedule_steps,
            "schedule.warmup_epochs": config.schedule.warmup_epochs * schedule_epoch,
            "schedule.decay_epochs": (config.schedule.decay_epochs or 0) * schedule_epoch,
            "schedule.boundaries": max(config.schedule.boundaries, default=0) * schedule_epoch,
        }
    )
    every_steps = config.eval.every_steps or max(1.0, config.eval.every_epochs * steps_per_epoch)
    _check_evaluations(total_steps, every_steps)
    given = config.log.every_steps
    if given is not None and total_steps < _FEWEST_INTERVALS * given:
        given = None  # plots of the metrics would have only one or two points
    return Milestones(
        total_steps=total_steps,
        schedule_steps=schedule_steps,
        steps_per_epoch=steps_per_epoch,
        eval_every_steps=every_steps,
        eval_before_training=config.eval.before_training,
        stop_at=config.eval.stop_at,
        checkpoint_every_steps=config.checkpoint.every_steps,
        log_every_steps=given or _log_every_steps(total_steps, steps_per_epoch),
        log_first_step=given is None,
    )


def _check_steps(steps: dict[str, float]) -> None:
    """Raises UsageError if a number of steps exceeds int32. `steps`: config key -> number of steps computed from it."""
    for key, number in steps.items():
        if number > LARGEST_INT:
            raise UsageError(f"config.{key} amounts to {number:.3g} steps: set it so that these are below 2^31")


def _check_evaluations(total_steps: int, every_steps: float) -> None:
    """Raises UsageError for more than `_MOST_EVALUATIONS` evaluations, which must be a mistake in the config."""
    if total_steps > _MOST_EVALUATIONS * every_steps:
        raise UsageError(
            f"config.eval.every_steps or every_epochs amounts to {total_steps / every_steps:,.0f} evaluations: set it "
            f"so that there are at most {_MOST_EVALUATIONS:,}"
        )


def _log_every_steps(total_steps: int, steps_per_epoch: float) -> int:
    """Returns the default of `log_every_steps`: an epoch, 1/20 of the run or 100 steps, whichever is shortest."""
    return max(1, min(100, int(steps_per_epoch), total_steps // 20))


def _schedule_epoch(config: ConfigDict, steps_per_epoch: float) -> float:
    """Returns the number of steps that the learning rate schedule counts as an epoch."""
    images = config.schedule.images_per_epoch
    return steps_per_epoch if images is None else images / config.data.batch_size


def schedule_options(config: ConfigDict, milestones: Milestones) -> dict[str, Any]:
    """Returns the arguments of `create_schedule`.

    Warm-up and boundaries are rounded down to whole steps, as in the r1.x ResNet of the TensorFlow Models repository.
    """
    schedule, steps_per_epoch = config.schedule, _schedule_epoch(config, milestones.steps_per_epoch)
    decay_epochs = schedule.decay_epochs
    return {
        "name": schedule.name,
        "peak_lr": schedule.base_lr * config.data.batch_size / schedule.base_batch_size,
        "warmup_steps": int(schedule.warmup_epochs * steps_per_epoch),
        "warmup_start": schedule.warmup_start,
        "decay_steps": milestones.schedule_steps if decay_epochs is None else decay_epochs * steps_per_epoch,
        "end": schedule.end,
        "power": schedule.power,
        "boundaries": tuple(int(epoch * steps_per_epoch) for epoch in schedule.boundaries),
        "factors": tuple(schedule.factors),
    }
