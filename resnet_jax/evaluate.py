"""Evaluation of a checkpoint, without training."""

import logging

import jax

from resnet_jax import metrics
from resnet_jax.channel import Channel
from resnet_jax.checkpoint import Checkpoints
from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.evaluator import Evaluator
from resnet_jax.experiment import Experiment
from resnet_jax.sharding import place, replicated
from resnet_jax.signals import STOPPED
from resnet_jax.stopping import Requests
from resnet_jax.summary import accuracy
from resnet_jax.warm_start import start_from
from resnet_jax.workdir import Workdir

logger = logging.getLogger(__name__)


def evaluate(experiment: Experiment, workdir: Workdir, requests: Requests, channel: Channel | None = None) -> int:
    """Evaluates the checkpoint that the experiment names; prints the result and writes `evaluation.json`.

    Args:
      experiment: its model is that of the work directory.
      workdir: of a run; its checkpoints are left as they are.
      requests: to stop; looked at once a batch.
      channel: between the processes; None: there is only this one.

    Returns:
      The exit status: 0, or 75 if a signal came first.

    Raises:
      UsageError: there is no such checkpoint, it cannot be read, or the classes are not those of the run.
    """
    channel = channel or Channel()
    workdir.check_classes(experiment.class_names)
    for part in ("devices", "model"):
        logger.info("%-12s %s", part, experiment.description[part])
    loader = experiment.eval_loader
    logger.info(
        "%-12s %s %s images, %d px", "data", loader.source.name, f"{len(loader.source):,}", loader.image_size_at(0)
    )
    with Checkpoints(workdir.checkpoints, **experiment.keep, gather=channel.gather) as checkpoints:
        step = checkpoints.find(experiment.eval_checkpoint)
    path = checkpoints.directory / str(step)
    shapes = jax.eval_shape(experiment.init).variables
    variables = start_from(str(path), shapes, head=True, weights=experiment.eval_weights)
    logger.info("checkpoint   %s (%s weights)", path, experiment.eval_weights)
    bad_examples = BadExamples(workdir.bad_examples, at_most=experiment.max_bad_examples, channel=channel)
    evaluator = Evaluator(experiment, bad_examples, requests)
    requests.begin(saves=False)
    totals = evaluator(place(variables, replicated(experiment.mesh)))
    if totals is None:
        return STOPPED
    scalars = metrics.scalars(totals) | {"count": totals.count}
    evaluation = metrics.finite(scalars)  # JSON has no NaN
    if channel.is_main:
        result = {"step": step, "weights": experiment.eval_weights, "eval": evaluation, "data": experiment.data["eval"]}
        workdir.write_evaluation(result)
    logger.info("accuracy     %s, loss %.4f", accuracy(scalars), scalars["loss"])
    logger.info("results      %s", workdir.evaluation)
    return 0
