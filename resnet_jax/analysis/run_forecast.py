"""What a run will evaluate and save, known before it starts."""

from typing import NamedTuple

import jax

from resnet_jax.experiment import Experiment, Plan


class RunForecast(NamedTuple):
    """What happens besides training, if no evaluation is good enough to end the run."""

    evaluations: list[int]  # after how many steps
    checkpoints: int  # how many are written
    checkpoint_bytes: int  # of one, before compression
    kept_checkpoints: int  # at most, at the end


def make_forecast(experiment: Experiment) -> RunForecast:
    """Looks ahead over a whole run; nothing is computed."""
    plan = experiment.plan
    evaluations = evaluation_steps(plan)
    checkpoints = _count_checkpoints(plan, evaluations)
    leaves = jax.tree.leaves(jax.eval_shape(experiment.init))
    return RunForecast(
        evaluations=evaluations,
        checkpoints=checkpoints,
        checkpoint_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        kept_checkpoints=min(checkpoints, sum(experiment.keep.values())),
    )


def evaluation_steps(plan: Plan) -> list[int]:
    """All steps at which an evaluation is due, in order."""
    # Of steps by the million only these can be; which of them are is for the plan alone to say.
    count = int(plan.total_steps / plan.eval_every_steps) + 2
    candidates = {0, plan.total_steps, *(round(k * plan.eval_every_steps) for k in range(1, count))}
    return [step for step in sorted(candidates) if step <= plan.total_steps and plan.evaluation_due(step)]


def _count_checkpoints(plan: Plan, evaluations: list[int]) -> int:
    """Each evaluation is saved, and so is each step at which a checkpoint is due."""
    every = plan.checkpoint_every_steps
    others = plan.total_steps // every if every else 0
    return others + sum(not plan.checkpoint_due(step) for step in evaluations)
