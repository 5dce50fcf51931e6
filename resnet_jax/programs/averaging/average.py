"""The uniform average of the weights of several checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.files import numbered
from resnet_jax.text import some_of
from resnet_jax.weights import StoredWeights
from resnet_jax.weights.select import selected_path


def checkpoint_paths(names: Sequence[str], checkpoints: Path, *, last: int | None) -> list[str]:
    """Returns the paths of the checkpoints to average: the named ones, or else those of the run, ordered by step.

    Args:
      names: steps, 'latest', 'best' or paths; if empty, checkpoints of the run are averaged.
      checkpoints: directory of the checkpoints of the run.
      last: if `names` is empty, the number of newest checkpoints to average; None for all.

    Raises:
      UsageError: `names` is empty and the run has no checkpoint or fewer than `last`, or a checkpoint is named twice.
    """
    steps = numbered(checkpoints)
    if not names and (not steps or (last or 0) > len(steps)):
        raise UsageError(
            f"{checkpoints} has {len(steps)} checkpoints{f', fewer than config.average.last={last}' if last else ''}: "
            "train with a larger config.checkpoint.keep_latest, which is the number of checkpoints that a run keeps"
        )
    wanted = names or list(map(str, steps[-last:] if last else steps))
    paths = [selected_path(name, checkpoints) for name in wanted]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise UsageError(f"config.average.checkpoints={tuple(names)} names {twice[0]} twice: name each checkpoint once")
    return paths


def average(stored: Sequence[StoredWeights]) -> dict[str, np.ndarray]:
    """Returns the mean of each array of the weights over all `stored`, summed in float64 and rounded once.

    Raises:
      UsageError: the weights differ in network, classes or kind ('trained' or 'ema').
    """
    first = stored[0]
    for other in stored[1:]:
        _check_alike(first, other)
    means: dict[str, np.ndarray] = {}
    for name, array in first.arrays.items():
        total = np.zeros(array.shape, np.float64)
        for one in stored:
            total += one.arrays[name]
        means[name] = (total / len(stored)).astype(array.dtype)
    return means


def _check_alike(first: StoredWeights, other: StoredWeights) -> None:
    names = sorted(first.arrays.keys() ^ other.arrays.keys())
    shapes = [
        name
        for name in first.arrays.keys() & other.arrays.keys()
        if first.arrays[name].shape != other.arrays[name].shape
    ]
    differing = names or sorted(shapes)
    if differing:
        raise UsageError(
            f"{first.path} and {other.path} are of different networks ({some_of(differing)}): average checkpoints of "
            "one network"
        )
    if None not in (first.class_list, other.class_list) and first.class_list != other.class_list:
        raise UsageError(
            f"{first.path} and {other.path} were trained on different classes, or the same in another order: average "
            "checkpoints of the same classes"
        )
    if first.kind != other.kind:
        raise UsageError(
            f"{first.path} has the weights {first.kind!r} and {other.path} has {other.kind!r}: set "
            "config.eval.weights='trained'"
        )


def average_name(stored: Sequence[StoredWeights], *, anew: bool) -> str:
    """Returns the name of an average, such as 'average-of-3-60-to-100' or 'average-of-3-ema-60-to-100'.

    Args:
      stored: the weights that were averaged.
      anew: whether the batch norm statistics were recomputed from training images. If not, they are averages of the
        stored statistics, and the name ends in '-averaged-statistics'.
    """
    steps = sorted(one.step for one in stored if one.step is not None)
    words: list[Any] = ["average-of", len(stored)]
    words += ["ema"] if stored[0].kind == "ema" else []
    words += [steps[0], "to", steps[-1]] if len(steps) > 1 else steps
    return "-".join(map(str, words if anew else [*words, "averaged-statistics"]))
