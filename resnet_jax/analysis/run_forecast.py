"""Predicts the evaluations and checkpoints of a run before it starts."""

from typing import NamedTuple

import jax

from resnet_jax.experiment import Experiment, Milestones


class RunForecast(NamedTuple):
    """The evaluations and checkpoints of a whole run, assuming that `eval.stop_at` does not end it early."""

    evaluations: list[int]  # steps after which the run evaluates
    checkpoints: int  # number of checkpoints written
    checkpoint_bytes: int  # size of the arrays of one checkpoint, uncompressed
    kept_checkpoints: int  # largest possible number of checkpoints on disk at the end


def make_forecast(experiment: Experiment) -> RunForecast:
    """Returns the forecast of a run; nothing is computed on the devices."""
    milestones, reporting = experiment.milestones, experiment.reporting
    evaluations = evaluation_steps(milestones)
    checkpoints = _count_checkpoints(milestones, evaluations)
    leaves = jax.tree.leaves(jax.eval_shape(experiment.computation.init))
    return RunForecast(
        evaluations=evaluations,
        checkpoints=checkpoints,
        checkpoint_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        kept_checkpoints=min(checkpoints, reporting.keep_latest + reporting.keep_best),
    )


def evaluation_steps(milestones: Milestones) -> list[int]:
    """Returns all steps at which an evaluation is due, in order."""
    # Test only multiples of the evaluation interval: testing each of millions of steps would be slow.
    count = int(milestones.total_steps / milestones.eval_every_steps) + 2
    candidates = {0, milestones.total_steps, *(round(k * milestones.eval_every_steps) for k in range(1, count))}
    return [step for step in sorted(candidates) if step <= milestones.total_steps and milestones.evaluation_due(step)]


def _count_checkpoints(milestones: Milestones, evaluations: list[int]) -> int:
    """Returns the number of checkpoints that are written: one at each evaluation, and those due at other steps."""
    every = milestones.checkpoint_every_steps
    others = milestones.total_steps // every if every else 0
    return others + sum(not milestones.checkpoint_due(step) for step in evaluations)
