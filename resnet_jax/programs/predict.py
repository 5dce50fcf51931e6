"""--mode=predict: the likeliest classes of image files, as lines of a table or of JSON."""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from resnet_jax import experiment
from resnet_jax.data.bad_examples import decoder_messages_line
from resnet_jax.data.batch import UNREADABLE
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources.files import FilesSource, list_images
from resnet_jax.distributed.mesh import put_on_devices, replicated
from resnet_jax.experiment import PredictOptions
from resnet_jax.experiment.compile import compile_predict_step
from resnet_jax.programs.command import Command
from resnet_jax.programs.command_line import allow_any_file_names
from resnet_jax.programs.trained_network import TrainedNetwork, load_network
from resnet_jax.reporting.progress import show_log
from resnet_jax.text import json_number, printable

logger = logging.getLogger(__name__)

_WIDEST_PATH, _WIDEST_NAME = 60, 24  # characters to which paths and class names in the table are padded at most


def main(command: Command) -> int:
    """Predicts the classes of the image files that the command names; returns the exit status."""
    show_log(stream=sys.stderr)  # stdout is for the predictions
    allow_any_file_names()
    options = experiment.predict_options(command.config)
    paths = list_images(list(command.paths), sys.stdin or ())
    return predict(load_network(command), paths, options)


def predict(network: TrainedNetwork, paths: Sequence[str], options: PredictOptions) -> int:
    """Prints a line for each file, in order. For a file that cannot be read, the line contains the reason.

    Args:
      network: the network, its weights and the names of its classes.
      paths: image files.
      options: output format, number of classes in each line, and batch size.

    Returns:
      The exit status: 0, or 2 if none of the files could be read.
    """
    loader = network.inference.make_loader(FilesSource(paths), options.batch_size)
    format_line = json.dumps if options.format == "json" else _TableLine(paths, network.class_names)
    num_unreadable = 0
    for path, outputs in zip(paths, _outputs(network, loader), strict=True):
        if isinstance(outputs, str):
            num_unreadable += 1
            answer: dict[str, Any] = {"path": path, "error": outputs}
        else:
            answer = {"path": path, "predictions": _likeliest(*outputs, network.class_names, options.top_k)}
        print(format_line(answer), flush=True)
    if num_unreadable:
        logger.warning("unreadable   %d of %d files", num_unreadable, len(paths))
    return 2 if num_unreadable == len(paths) else 0


def _outputs(network: TrainedNetwork, loader: Loader) -> Iterator[tuple[np.ndarray, int] | str]:
    """Yields for each file its probabilities [K] float32 and its predicted class, or why it cannot be read."""
    inference, batch_size = network.inference, loader.batch_size
    step = compile_predict_step(inference, batch_size)
    variables = put_on_devices(network.weights.variables, replicated(inference.mesh))
    loaded = host_batches(loader, start=0, stop=loader.num_batches, num_threads=None, num_workers=0)
    num_messages = 0
    labels: list[np.ndarray] = []  # of each batch taken so far; `device_batches` takes batches in advance

    def batches() -> Iterator:
        nonlocal num_messages
        for batch, _, messages in loaded:
            num_messages += messages
            labels.append(batch.label)
            yield batch

    for number, batch in enumerate(device_batches(batches(), mesh=inference.mesh)):
        outputs = jax.device_get(step(variables, batch.image))
        first = number * batch_size
        for row, index in enumerate(range(first, min(first + batch_size, len(loader.source)))):
            if labels[number][row] != UNREADABLE:
                yield outputs["probabilities"][row], int(outputs["classes"][row])
            else:
                yield loader.read_error(index) or "the first attempt to read the file failed, a second one succeeded"
    if num_messages:
        logger.info("%s", decoder_messages_line(num_messages))


def _likeliest(probabilities: np.ndarray, first: int, class_names: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """Returns the top k classes as JSON values, sorted by falling probability, then by class number.

    `first`, the class of the largest logit, always comes first, also if its rounded probability equals that of another
    class.
    """
    order = np.argsort(-probabilities, kind="stable")
    order = np.concatenate([[first], order[order != first]])[:top_k]
    return [
        {"class": int(label), "name": class_names[label], "probability": json_number(float(probabilities[label]))}
        for label in order
    ]


class _TableLine:
    """Formats a line of the table: the path, then for each class its probability in percent and its name."""

    def __init__(self, paths: Sequence[str], class_names: Sequence[str]):
        self._width = min(_WIDEST_PATH, max(map(len, paths)))
        self._name_width = min(_WIDEST_NAME, max(map(len, class_names)))

    def __call__(self, answer: dict[str, Any]) -> str:
        path = printable(answer["path"]).ljust(self._width)
        if "error" in answer:
            return f"{path}  cannot be read: {printable(answer['error'])}"
        return "  ".join([path, *map(self._cell, answer["predictions"])]).rstrip()

    def _cell(self, found: dict[str, Any]) -> str:
        percent = "  NaN" if found["probability"] is None else f"{100 * found['probability']:5.1f}"
        return f"{percent} % {printable(found['name']):<{self._name_width}}"
