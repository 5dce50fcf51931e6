"""Compares the training examples in the batches of two runs at the same step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from resnet_jax import experiment
from resnet_jax.errors import UsageError
from resnet_jax.nested import has_shape
from resnet_jax.programs.difference.runs import Run

_DATA_SHAPE = {"train": {"name": str, "examples": int}}


class Batches(NamedTuple):
    """The batches of the same step in two runs."""

    step: int  # counted from 1
    first: np.ndarray  # [B] int64, index in the training set of each example of the first run's batch
    second: np.ndarray
    same_data: bool  # whether both runs have the same training set, so that equal indices are the same example

    @property
    def are_equal(self) -> bool:
        """Whether both batches have the same examples in the same order."""
        return self.same_data and np.array_equal(self.first, self.second)

    @property
    def shared(self) -> int:
        """The number of examples of the first batch that are also in the second batch; 0 if the data differ."""
        return int(np.isin(self.first, self.second).sum()) if self.same_data else 0


def batch_size(run: Run) -> int | None:
    """Returns the batch size of a run; None if it depends on the number of training images and that is unknown."""
    data = _data(run)
    if data is None:
        size = run.settings["data.batch_size"]
        return int(size) if size else None
    return experiment.train_order(run.config, data["train"]["examples"]).batch_size


def compare_batches(first: Run, second: Run, step: int) -> Batches | None:
    """Returns the batches of both runs at a step, counted from 1; None if the data of a run are unknown."""
    data = [_data(run) for run in (first, second)]
    if data[0] is None or data[1] is None:
        return None
    orders = [
        experiment.train_order(run.config, own["train"]["examples"])
        for run, own in zip((first, second), data, strict=True)
        if own is not None
    ]
    one, other = (order.rows(step - 1).indices for order in orders)
    return Batches(step, one, other, same_data=data[0]["train"] == data[1]["train"])


def file_names(run: Run) -> Callable[[int], str]:
    """Returns a function from the index of a training example to its file name ('' if the data cannot be opened)."""
    try:
        where: Callable[[int], str] = experiment.open_training(run.config).where
    except UsageError:
        return _no_file
    return where


def _no_file(index: int) -> str:
    del index
    return ""


def _data(run: Run) -> dict[str, Any] | None:
    data = run.start.get("data")
    return data if has_shape(data, _DATA_SHAPE) else None
