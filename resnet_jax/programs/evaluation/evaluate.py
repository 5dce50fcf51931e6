"""Evaluates weights on every image of a split, and writes a certificate of the result."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resnet_jax.checkpoints.checksums import sha256_of_arrays
from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.class_names import check_same, fingerprint
from resnet_jax.data.sources import example_ids
from resnet_jax.distributed import agreement
from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.mesh import put_on_devices, replicated
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Evaluation, Statistics, WeightsOptions
from resnet_jax.programs.evaluation import answers, certificate, result_directory
from resnet_jax.programs.evaluation.evaluator import CompiledSteps, Evaluator
from resnet_jax.programs.evaluation.result_directory import Results
from resnet_jax.programs.evaluation.several_labels import judge
from resnet_jax.programs.evaluation.summary import progress_lines, summary_lines
from resnet_jax.programs.evaluation.table import Row, table_lines, write_table
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import labelled
from resnet_jax.training.metrics import Answers, Totals
from resnet_jax.weights import StoredWeights, read_weights
from resnet_jax.weights.class_outputs import Classes
from resnet_jax.weights.select import (
    SelectedWeights,
    log_choice,
    select_weights,
    selected_path,
    with_outputs_in_order_of,
    with_outputs_of_set,
)

logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """The work directory, the stop requests and the processes of an evaluation."""

    workdir: Workdir  # results are written to `evaluations/<name>/` in it; a training run in it is not changed
    requests: StopRequests  # checked after each batch
    channel: Channel  # connects the processes


class Precise(NamedTuple):
    """How batch norm statistics are computed anew before an evaluation ('precise batch norm')."""

    statistics: Statistics
    images: int  # number of training images that they are computed from


def evaluate(evaluation: Evaluation, workdir: Workdir, requests: StopRequests, channel: Channel | None = None) -> int:
    """Evaluates the weights that `evaluation` names, logs the result, and writes a certificate.

    Args:
      evaluation: the network, the evaluation set, and the name of the weights.
      workdir: where the result is written.
      requests: stop requests.
      channel: connects the processes; None: this process is alone.

    Returns:
      The exit status: 0, or 75 if a signal stopped the evaluation.

    Raises:
      UsageError: the weights do not exist, cannot be read, do not fit the network, or have other classes than the data.
    """
    place = Place(workdir, requests, channel or Channel())
    return evaluate_all([evaluation], read_stored(evaluation.weights, place), place)


def evaluate_all(
    evaluations: Sequence[Evaluation], stored: StoredWeights, place: Place, *, precise: "Precise | None" = None
) -> int:
    """Evaluates the same weights on several data sets or at several image sizes; see `evaluate`.

    Each evaluation writes the same certificate as if it ran alone. If there are several, a table of results follows.

    Args:
      evaluations: the evaluation sets and image sizes, with the network.
      stored: the weights.
      place: the work directory, stop requests and processes.
      precise: how to recompute the batch norm statistics; None to use the stored ones.
    """
    for label, line in evaluations[0].description.items():
        if len(evaluations) == 1 or label in ("devices", "model"):
            logger.info(labelled(label, line))
    first = evaluations[0].computation
    weights = select_weights(stored, first.shapes, network=first.network, any_input=evaluations[0].weights.any_input)
    if precise is not None:
        place.requests.begin(saves=False)
        anew = precise.statistics.compute(weights.variables, precise.images, stopping=place.requests.stop_here)
        if anew is None:
            return STOPPED
        count = precise.statistics.num_images(precise.images)
        logger.info(labelled("statistics", f"computed anew from {precise.statistics.describe(precise.images)}"))
        weights = dataclasses.replace(weights, variables=anew, sha256=sha256_of_arrays(anew), statistics_images=count)
    # For all evaluations first: if the classes of one data set do not fit the weights, fail before any evaluation.
    selected = [_for_classes(weights, stored, evaluation) for evaluation in evaluations]
    rows, steps = [], CompiledSteps()
    for evaluation, own in zip(evaluations, selected, strict=True):
        subject = certificate.describe_subject(evaluation, own)
        directory = place.workdir.evaluations / certificate.directory_name(subject)
        results = _evaluate_one(evaluation, own, subject, directory, place, steps)
        if results is None:
            return STOPPED
        name = evaluation.set_name or subject["data"]["name"]
        rows.append(Row(name, evaluation.group, directory, results.certificate))
        for line in summary_lines(results, directory) if len(evaluations) == 1 else progress_lines(rows[-1]):
            logger.info(line)
    if len(rows) > 1:
        cure = f"{place.workdir.evaluations} cannot be written: free disk space and run again to evaluate"
        write = functools.partial(_write_table, rows, place.workdir.evaluations)
        directory = Path(agreement.from_first(place.channel.gather, write, cure=cure))
        for line in table_lines(rows, directory):
            logger.info(line)
    return 0


def _write_table(rows: Sequence[Row], evaluations: Path) -> str:
    return str(write_table(rows, evaluations))


def _evaluate_one(
    evaluation: Evaluation,
    selected: SelectedWeights,
    subject: dict[str, Any],
    directory: Path,
    place: Place,
    steps: CompiledSteps,
) -> Results | None:
    """Runs one evaluation and writes its result to `directory`; returns None if a signal has stopped it."""
    channel, requests = place.channel, place.requests
    # Process 0 creates the directory anew before any process opens the list of unreadable examples in it.
    part = _on_process_0(channel, directory, lambda: str(result_directory.begin(directory)))
    list_path = Path(part) / result_directory.BAD_EXAMPLES
    bad_examples = BadExamples(list_path, at_most=evaluation.data.reading.max_bad_examples, channel=channel)
    batches: list[Answers] = []
    evaluator = Evaluator(
        evaluation.computation, evaluation.data, bad_examples, requests, take=batches.append, steps=steps
    )
    # Wait until all processes have compiled: on CPUs, JAX lets the first collective operation wait only 30 s.
    channel.gather("")
    place.workdir.begin()
    requests.begin(saves=False)
    totals = evaluator(put_on_devices(selected.variables, replicated(evaluation.computation.mesh)))
    if totals is None:
        _on_process_0(channel, directory, lambda: result_directory.discard(directory))
        return None
    bad_examples.collect()
    results = _results(evaluation, selected, subject, totals, answers.join(batches))
    _on_process_0(channel, directory, lambda: result_directory.finish(directory, results))
    return results


def _results(
    evaluation: Evaluation, selected: SelectedWeights, subject: dict[str, Any], totals: Totals, joined: Answers
) -> Results:
    """Returns the results of an evaluation of `subject`, from the totals and the predictions for all images."""
    class_names, loader = evaluation.data.class_names, evaluation.data.eval_loader
    names = certificate.output_names(class_names, certificate.num_outputs(selected), numbers=selected.outputs)
    confusion = certificate.count_answers(joined, totals, num_classes=len(class_names), num_outputs=len(names))
    content = certificate.make_certificate(subject, totals, confusion, joined, batch_size=loader.batch_size)
    labels = evaluation.right_labels()
    if labels is not None:
        content["several_labels"] = judge(joined, labels)
    stored = answers.to_store(joined, subject, names, example_ids(loader.source))
    return Results(content, confusion, names, stored)


def read_stored(weights: WeightsOptions, place: Place) -> StoredWeights:
    """Reads the weights to evaluate. Process 0 chooses the path for all, because 'latest' may change meanwhile."""
    find = functools.partial(selected_path, weights.checkpoint, place.workdir.checkpoints)
    path = agreement.from_first(place.channel.gather, find, cure="make the checkpoint readable and run again")
    log_choice(weights.checkpoint, place.workdir.checkpoints)
    return read_weights(path, kind=weights.kind)


def _for_classes(selected: SelectedWeights, stored: StoredWeights, evaluation: Evaluation) -> SelectedWeights:
    """Returns the weights with their outputs in the order of the data's classes.

    Raises:
      UsageError: the weights were trained on other classes.
    """
    class_names = evaluation.data.class_names
    if evaluation.set_name:
        return with_outputs_of_set(selected, stored, class_names, set_name=evaluation.set_name)
    if selected.class_names is not None:
        check_same(selected.class_names, class_names, owner=selected.path)
    elif stored.class_list not in (None, fingerprint(class_names)):
        raise UsageError(
            f"{selected.path} was trained on other classes than the data have, or the same in another order: "
            "evaluate these weights on the data that they were trained on"
        )
    elif stored.class_list is None:
        return with_outputs_in_order_of(selected, Classes(class_names, evaluation.weights.class_outputs))
    return selected


def _on_process_0(channel: Channel, directory: Path, action: Callable[[], Any]) -> Any:
    """Runs `action`, which changes `directory`, on process 0; all processes return its result or raise its error."""
    cure = f"{directory} cannot be written: free disk space or make it writable, and run again to evaluate"
    return agreement.from_first(channel.gather, action, cure=cure)
