"""When things happen: epochs of the config as steps."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Plan:
    """When things happen, in steps."""

    total_steps: int  # where the run ends
    schedule_steps: int  # where the schedule does
    steps_per_epoch: float
    eval_every_steps: float  # evaluation k comes at the whole step nearest to k times this
    eval_before_training: bool
    stop_at: float | None  # top-1 in 0..1 that ends the run
    checkpoint_every_steps: int | None  # None: only with an evaluation
    log_every_steps: int

    def evaluation_due(self, step: int) -> bool:
        """Whether the state after `step` updates is to be evaluated; the last one always is."""
        if step == 0:
            return self.eval_before_training
        nearest = round(round(step / self.eval_every_steps) * self.eval_every_steps)
        return step in (nearest, self.total_steps)

    def checkpoint_due(self, step: int) -> bool:
        """Whether the state after `step` updates is to be saved even if it is not evaluated."""
        return step > 0 and self.checkpoint_every_steps is not None and step % self.checkpoint_every_steps == 0

    def good_enough(self, evaluation: dict[str, Any] | None) -> bool:
        """Whether an evaluation (`top1` in 0..1, None if not a number) ends the run."""
        return self.stop_at is not None and evaluation is not None and (evaluation["top1"] or 0.0) >= self.stop_at

    def stop_reason(self, step: int, evaluation: dict[str, Any] | None) -> str:
        """Why a run ended after `step` updates, with the evaluation of that very state if there is one."""
        if self.good_enough(evaluation):
            return "stop_at"
        if step < self.total_steps or (step == self.total_steps and evaluation is None):
            return "signal"
        return "completed" if step >= self.schedule_steps else "max_steps"


def make_plan(config: ConfigDict, num_examples: int) -> Plan:
    """Turns the epochs of a config into steps for so many training examples."""
    steps_per_epoch = num_examples / config.data.batch_size
    schedule_steps = config.train.total_steps or max(1, round(config.train.epochs * steps_per_epoch))
    return Plan(
        total_steps=min(schedule_steps, config.train.max_steps or schedule_steps),
        schedule_steps=schedule_steps,
        steps_per_epoch=steps_per_epoch,
        eval_every_steps=config.eval.every_steps or max(1.0, config.eval.every_epochs * steps_per_epoch),
        eval_before_training=config.eval.before_training,
        stop_at=config.eval.stop_at,
        checkpoint_every_steps=config.checkpoint.every_steps,
        log_every_steps=config.log.every_steps,
    )


def schedule_options(config: ConfigDict, plan: Plan) -> dict[str, Any]:
    """The options of `create_schedule`, in steps. Parts of a step are cut off, as r1 does."""
    schedule, steps_per_epoch = config.schedule, plan.steps_per_epoch
    decay_epochs = schedule.decay_epochs
    return {
        "name": schedule.name,
        "peak_lr": schedule.base_lr * config.data.batch_size / schedule.base_batch_size,
        "warmup_steps": int(schedule.warmup_epochs * steps_per_epoch),
        "warmup_start": schedule.warmup_start,
        "decay_steps": plan.schedule_steps if decay_epochs is None else decay_epochs * steps_per_epoch,
        "end": schedule.end,
        "power": schedule.power,
        "boundaries": tuple(int(epoch * steps_per_epoch) for epoch in schedule.boundaries),
        "factors": tuple(schedule.factors),
    }
