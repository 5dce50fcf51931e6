"""Evaluates weights on every image of a split, and writes a certificate of the result."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.class_names import check_same, fingerprint
from resnet_jax.data.sources import example_ids
from resnet_jax.distributed import agreement
from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.mesh import put_on_devices, replicated
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Evaluation
from resnet_jax.programs.evaluation import answers, certificate, result_directory
from resnet_jax.programs.evaluation.evaluator import Evaluator
from resnet_jax.programs.evaluation.result_directory import Results
from resnet_jax.programs.evaluation.summary import summary_lines
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import labelled
from resnet_jax.training.metrics import Answers, Totals
from resnet_jax.weights import read_weights
from resnet_jax.weights.class_outputs import Classes
from resnet_jax.weights.select import SelectedWeights, select_weights, selected_path, with_outputs_in_order_of

logger = logging.getLogger(__name__)


def evaluate(evaluation: Evaluation, workdir: Workdir, requests: StopRequests, channel: Channel | None = None) -> int:
    """Evaluates the weights that `evaluation` names, logs the result, and writes a certificate.

    Args:
      evaluation: the network, the evaluation set, and the name of the weights.
      workdir: where `evaluations/<name>/` is written; a training run in the same directory is not changed.
      requests: stop requests, checked after each batch.
      channel: connects the processes; None: this process is alone.

    Returns:
      The exit status: 0, or 75 if a signal stopped the evaluation.

    Raises:
      UsageError: the weights do not exist, cannot be read, do not fit the network, or have other classes than the data.
    """
    channel = channel or Channel()
    for label, line in evaluation.description.items():
        logger.info(labelled(label, line))
    selected = _select_weights(evaluation, workdir, channel)
    subject = certificate.describe_subject(evaluation, selected)
    directory = workdir.evaluations / certificate.directory_name(subject)
    # Process 0 creates the directory anew before any process opens the list of unreadable examples in it.
    part = _on_process_0(channel, directory, lambda: str(result_directory.begin(directory)))
    list_path = Path(part) / result_directory.BAD_EXAMPLES
    bad_examples = BadExamples(list_path, at_most=evaluation.data.reading.max_bad_examples, channel=channel)
    batches: list[Answers] = []
    evaluator = Evaluator(evaluation.computation, evaluation.data, bad_examples, requests, take=batches.append)
    # The first operation of all processes has a time limit of JAX (30 s on CPUs), which slower compilations exceed.
    channel.gather("")
    workdir.begin()
    requests.begin(saves=False)
    totals = evaluator(put_on_devices(selected.variables, replicated(evaluation.computation.mesh)))
    if totals is None:
        _on_process_0(channel, directory, lambda: result_directory.discard(directory))
        return STOPPED
    bad_examples.collect()
    results = _results(evaluation, selected, subject, totals, answers.join(batches))
    _on_process_0(channel, directory, lambda: result_directory.finish(directory, results))
    for line in summary_lines(results, directory):
        logger.info(line)
    return 0


def _results(
    evaluation: Evaluation, selected: SelectedWeights, subject: dict[str, Any], totals: Totals, joined: Answers
) -> Results:
    """Returns the results of an evaluation of `subject`, from the totals and the answers for all images."""
    class_names, loader = evaluation.data.class_names, evaluation.data.eval_loader
    names = certificate.output_names(class_names, certificate.num_outputs(selected), numbers=selected.outputs)
    confusion = certificate.count_answers(joined, totals, num_classes=len(class_names), num_outputs=len(names))
    return Results(
        certificate.make_certificate(subject, totals, confusion, joined, batch_size=loader.batch_size),
        confusion,
        names,
        answers.to_store(joined, subject, names, example_ids(loader.source)),
    )


def _select_weights(evaluation: Evaluation, workdir: Workdir, channel: Channel) -> SelectedWeights:
    """Reads the weights to evaluate. Process 0 finds their path (`latest` may change); all processes read that path."""
    find = functools.partial(selected_path, evaluation.weights.checkpoint, workdir.checkpoints)
    path = agreement.from_first(channel.gather, find, cure="make the checkpoint readable and run again")
    stored, computation = read_weights(path, kind=evaluation.weights.kind), evaluation.computation
    selected = select_weights(
        stored, computation.shapes, network=computation.network, any_input=evaluation.weights.any_input
    )
    if selected.class_names is not None:
        check_same(selected.class_names, evaluation.data.class_names, owner=selected.path)
    elif stored.class_list not in (None, fingerprint(evaluation.data.class_names)):
        raise UsageError(
            f"{selected.path} was trained on other classes than the data have, or the same in another order: "
            "evaluate these weights on the data that they were trained on"
        )
    elif stored.class_list is None:
        classes = Classes(evaluation.data.class_names, evaluation.weights.class_outputs)
        return with_outputs_in_order_of(selected, classes)
    return selected


def _on_process_0(channel: Channel, directory: Path, action: Callable[[], Any]) -> Any:
    """Runs `action`, which changes `directory`, on process 0; all processes return its result or raise its error."""
    cure = f"{directory} cannot be written: free disk space or make it writable, and run again to evaluate"
    return agreement.from_first(channel.gather, action, cure=cure)
