"""Batch norm statistics of a whole population of training images, for given weights ('precise batch norm').

Running statistics are an exponential moving average over the last steps, in which the weights changed. For weights
that no step has used, such as an average of several checkpoints, they have to be computed anew (Izmailov et al. 2018,
Averaging Weights Leads to Wider Optima, section 3.2; Wu and Johnson 2021, Rethinking "Batch" in BatchNorm, section 3):

    mean = E[mean of a group],    var = E[variance of a group + (mean of a group)^2] - mean^2

While they are computed, each norm uses the statistics of its group, as in training, so that the following layers get
the same inputs as in training. A group is the part of the batch over which a batch norm computes its statistics.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.models.batch_norm import BatchNorm
from resnet_jax.training.gradients import ForwardFn, IndexedBatch, Variables


class Moments(NamedTuple):
    """Moments of the inputs of one batch norm with C channels, averaged over the groups of a batch."""

    mean: Any  # [C] float32, the mean
    square: Any  # [C] float32, the mean of the squares
    values: Any  # int32, number of values per channel in the batch: images x H x W


MomentsFn = Callable[[Variables, IndexedBatch, jax.Array], dict[str, Moments]]


def make_moments(forward_fn: ForwardFn) -> MomentsFn:
    """Returns the function that maps variables, a batch and the key of its step to the moments of each batch norm.

    The keys of the result are the paths of the batch norms that are not frozen, such as 'stage1_block1/bn1'.

    Args:
      forward_fn: the forward pass in training, with its augmentation; see `make_forward_fn`.
    """

    def moments(variables: Variables, indexed: IndexedBatch, key: jax.Array) -> dict[str, Moments]:
        found: dict[str, Moments] = {}

        def intercept(call: Callable[..., Any], values: Any, options: Any, context: Any) -> Any:
            if isinstance(context.module, BatchNorm) and context.method_name == "update_running":
                _, mean, var = values
                channels = mean.shape[-1]
                mean, var = mean.reshape(-1, channels), var.reshape(-1, channels)
                square = jnp.mean(var + jnp.square(mean), axis=0)
                count = jnp.asarray(len(mean) * options["count"], jnp.int32)
                found["/".join(context.module.path)] = Moments(jnp.mean(mean, axis=0), square, count)
            return call(*values, **options)

        with nn.intercept_methods(intercept):
            forward_fn(variables, indexed, key)
        return found

    return moments


class Population:
    """Averages the moments of batches on the host, in float64."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}
        self.batches = 0

    def add(self, moments: Mapping[str, Moments]) -> None:
        """Adds the moments of a batch; all batches must have the same size."""
        self.batches += 1
        for path, one in moments.items():
            mean, square = np.asarray(one.mean, np.float64), np.asarray(one.square, np.float64)
            before = self._sums.get(path, (0.0 * mean, 0.0 * square, 0))
            self._sums[path] = before[0] + mean, before[1] + square, before[2] + int(one.values)

    def statistics(self, batch_stats: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `batch_stats` with the statistics of all added batches; norms without moments keep their statistics.

        The variance is unbiased (divided by N - 1), like the running variance in training.
        """
        return self._replaced(batch_stats, "")

    def _replaced(self, tree: Mapping[str, Any], path: str) -> dict[str, Any]:
        if path in self._sums:
            mean, square, values = self._sums[path]
            mean, square = mean / self.batches, square / self.batches
            var = np.maximum(square - mean**2, 0.0) * (values / max(values - 1, 1))
            return {"mean": mean.astype(np.float32), "var": var.astype(np.float32)}
        return {
            name: self._replaced(part, f"{path}/{name}".lstrip("/")) if isinstance(part, Mapping) else part
            for name, part in tree.items()
        }
