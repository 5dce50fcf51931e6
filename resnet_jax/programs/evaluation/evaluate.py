"""Evaluation of weights, without training."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.class_names import check_same, fingerprint
from resnet_jax.distributed import agreement
from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.mesh import put_on_devices, replicated
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Experiment
from resnet_jax.programs.evaluation import certificate
from resnet_jax.programs.evaluation.evaluator import Evaluator
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.training.metrics import Answers
from resnet_jax.weights import read_weights
from resnet_jax.weights.select import SelectedWeights, select_weights, selected_path

logger = logging.getLogger(__name__)


def evaluate(experiment: Experiment, workdir: Workdir, requests: StopRequests, channel: Channel | None = None) -> int:
    """Evaluates the weights that the experiment names; prints the result and leaves a certificate.

    Args:
      experiment: its model is that of the weights.
      workdir: of a run, which is left as it is, or of none; the certificate comes into its `evaluations`.
      requests: to stop; looked at once a batch.
      channel: between the processes; None: there is only this one.

    Returns:
      The exit status: 0, or 75 if a signal came first.

    Raises:
      UsageError: there are no such weights, they cannot be read, or the classes are not those of the run.
    """
    channel = channel or Channel()
    _say_what(experiment)
    selected = _select_weights(experiment, workdir, channel)
    about = certificate.subject(experiment, selected)
    directory = workdir.evaluations / certificate.directory_name(about)
    # Before any other process looks for a list of bad examples there.
    part = _by_first(channel, directory, lambda: str(certificate.begin(directory)))
    list_path = Path(part) / certificate.BAD_EXAMPLES
    bad_examples = BadExamples(list_path, at_most=experiment.data.reading.max_bad_examples, channel=channel)
    answers: list[Answers] = []
    evaluator = Evaluator(experiment, bad_examples, requests, take=answers.append)
    requests.begin(saves=False)
    totals = evaluator(put_on_devices(selected.variables, replicated(experiment.computation.mesh)))
    if totals is None:
        _by_first(channel, directory, lambda: certificate.discard(directory))
        return STOPPED
    bad_examples.collect()
    names = certificate.names_of_outputs(experiment.data.class_names, certificate.num_outputs(selected))
    confusion = certificate.count_answers(
        answers, totals, num_classes=len(experiment.data.class_names), num_outputs=len(names)
    )
    content = certificate.certify(about, totals, confusion, answers)
    _by_first(channel, directory, lambda: certificate.finish(directory, content, confusion, names))
    for line in certificate.lines(content, confusion, names, directory):
        logger.info(line)
    return 0


def _say_what(experiment: Experiment) -> None:
    loader = experiment.data.eval_loader
    for part in ("devices", "model"):
        logger.info("%-12s %s", part, experiment.reporting.description[part])
    logger.info(
        "%-12s %s %s images, %d px", "data", loader.source.name, f"{len(loader.source):,}", loader.image_size_at(0)
    )


def _select_weights(experiment: Experiment, workdir: Workdir, channel: Channel) -> SelectedWeights:
    """Reads the weights, in every process those that process 0 finds."""
    find = functools.partial(selected_path, experiment.weights_options.checkpoint, workdir.checkpoints)
    path = agreement.from_first(channel.gather, find, cure="mend it and run again")
    stored, shapes = (
        read_weights(path, kind=experiment.weights_options.kind),
        jax.eval_shape(experiment.computation.init).variables,
    )
    selected = select_weights(
        stored, shapes, network=experiment.computation.network, any_input=experiment.weights_options.any_input
    )
    if selected.class_names is not None:
        check_same(selected.class_names, experiment.data.class_names, owner=selected.path)
    elif stored.class_list not in (None, fingerprint(experiment.data.class_names)):
        raise UsageError(
            f"{selected.path} was trained on other classes than the data have, or in another order: name its own data"
        )
    return selected


def _by_first(channel: Channel, directory: Path, action: Callable[[], Any]) -> Any:
    """Has process 0 do something with the certificate; what goes wrong is said by all processes."""
    cure = f"{directory} cannot be written: make room or mend it, and run again to evaluate"
    return agreement.from_first(channel.gather, action, cure=cure)
