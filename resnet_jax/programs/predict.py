"""Predictions for image files: the likeliest classes of each, as lines of JSON or of a table."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources.files import FilesSource
from resnet_jax.distributed.mesh import put_on_devices, replicated
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Inference
from resnet_jax.experiment.compile import compile_predict_step
from resnet_jax.weights.select import SelectedWeights

logger = logging.getLogger(__name__)

_WIDEST_PATH, _WIDEST_NAME = 60, 24  # columns of a table that paths and names are padded to


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be said of each image, and how."""

    top_k: int
    format: str  # 'table' or 'json'
    batch_size: int

    def __post_init__(self):
        if self.format not in ("table", "json"):
            raise UsageError(f"config.predict.format={self.format!r} is not one of table, json")


def predict(
    inference: Inference, selected: SelectedWeights, class_names: Sequence[str], paths: Sequence[str], wanted: Wanted
) -> int:
    """Prints a line for each file, in order; those that cannot be read are said, and the rest goes on.

    Args:
      inference: from files to probabilities.
      selected: the weights.
      class_names: of the outputs.
      paths: of image files.
      wanted: what is said of each.

    Returns:
      The exit status: 0, or 2 if not one of the files could be read.
    """
    loader = inference.make_loader(FilesSource(paths), wanted.batch_size)
    line = _json_line if wanted.format == "json" else _TableLine(paths, class_names)
    bad = 0
    for path, found in zip(paths, _outputs(inference, selected, loader), strict=True):
        if isinstance(found, str):
            bad += 1
            answer: dict[str, Any] = {"path": path, "error": found}
        else:
            answer = {"path": path, "predictions": _likeliest(*found, class_names, wanted.top_k)}
        print(line(answer), flush=True)
    if bad:
        logger.warning("unreadable   %d of %d files", bad, len(paths))
    return 2 if bad == len(paths) else 0


def _outputs(inference: Inference, selected: SelectedWeights, loader: Loader) -> Iterator[tuple[np.ndarray, int] | str]:
    """Of each file in turn: probabilities [K] and the first class; or why it cannot be read."""
    step = compile_predict_step(inference, loader.order.batch_size)
    variables = put_on_devices(selected.variables, replicated(inference.mesh))
    size = loader.order.batch_size
    loaded = host_batches(loader, start=0, stop=loader.num_batches, num_threads=None, num_workers=0)
    labels: list[np.ndarray] = []  # of batches that are on their way through the devices

    def batches() -> Iterator:
        for batch, _ in loaded:
            labels.append(batch.label)
            yield batch

    for number, batch in enumerate(device_batches(batches(), mesh=inference.mesh)):
        outputs = jax.device_get(step(variables, batch.image))
        for row, index in enumerate(range(number * size, min((number + 1) * size, len(loader.source)))):
            readable = labels[number][row] != UNREADABLE
            if readable:
                yield outputs["probabilities"][row], int(outputs["classes"][row])
            else:
                yield loader.problem(index) or "it could not be read at first"


def _likeliest(probabilities: np.ndarray, first: int, class_names: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """The class that is first by the logits, then by probability; equal ones by number."""
    order = np.argsort(-probabilities, kind="stable")
    order = np.concatenate([[first], order[order != first]])[:top_k]
    return [
        {"class": int(label), "name": class_names[label], "probability": _finite(float(probabilities[label]))}
        for label in order
    ]


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if np.isfinite(value) else None


def _json_line(answer: dict[str, Any]) -> str:
    return json.dumps(answer)


class _TableLine:
    """Lines of a table: the path, then probabilities in percent, each with its class."""

    def __init__(self, paths: Sequence[str], class_names: Sequence[str]):
        self._width = min(_WIDEST_PATH, max(map(len, paths)))
        self._name_width = min(_WIDEST_NAME, max(map(len, class_names)))

    def __call__(self, answer: dict[str, Any]) -> str:
        path = _printable(answer["path"]).ljust(self._width)
        if "error" in answer:
            return f"{path}  cannot be read: {answer['error']}"
        return "  ".join([path, *map(self._cell, answer["predictions"])]).rstrip()

    def _cell(self, found: dict[str, Any]) -> str:
        percent = "  NaN" if found["probability"] is None else f"{100 * found['probability']:5.1f}"
        return f"{percent} % {_printable(found['name']):<{self._name_width}}"


def _printable(name: str) -> str:
    """Without what would break a line or speak to the terminal; bytes that are no UTF-8 stay."""
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in name)
