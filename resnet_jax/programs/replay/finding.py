"""Finds the first NaN or infinity in the computation of a step: its layer and examples, and a likely cause."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.experiment.replayed_step import LayerReport
from resnet_jax.training.layer_probe import ParameterReport, is_finite

FORWARD, BACKWARD, PARAMETER, NORM = "forward", "backward", "parameter", "norm"
_FEW = 0.5  # if a layer is not finite for at most this share of the examples, these count as the cause
_OUTLIER = 10  # an example is an outlier if its magnitude is more than 10 times the median over the batch


class Finding(NamedTuple):
    """Where the first number that is NaN or infinite arises."""

    where: str  # `FORWARD` or `BACKWARD` pass, gradient of a `PARAMETER`, or `NORM` of the whole gradient
    name: str  # name of the layer or the parameter; '' for `NORM`
    rows: tuple[int, ...]  # batch indices of the images with values that are not finite; () for `PARAMETER`, `NORM`
    images: int  # number of images in the batch
    before: str  # name of the layer that was computed just before layer `name`; '' if there is none
    largest_before: float  # largest magnitude in the layer `before`; 0 if there is none
    largest_row: int | None  # batch index of the image with `largest_before`; None if there is no layer `before`
    outlier: bool  # whether `largest_before` is more than `_OUTLIER` times the median over the images

    @property
    def in_few(self) -> bool:
        """Whether at most half of the images are affected, so that these images are the likely cause."""
        return 0 < len(self.rows) <= _FEW * self.images


def find(layers: LayerReport, parameters: ParameterReport) -> Finding | None:
    """Returns where the first NaN or infinity arises, in the order of computation; None if there is none.

    The order is: input and layers, losses, gradients of the layers from the last to the first, gradients of the
    parameters, norm of the gradient.
    """
    forward = _first(FORWARD, layers.forward_names, layers.forward)
    if forward is not None:
        return forward
    backward = _first(BACKWARD, layers.backward_names[::-1], layers.backward[::-1])
    if backward is not None:
        return backward
    count = layers.forward.shape[1]
    for name, largest in parameters.gradients.items():
        if not np.isfinite(largest):
            return Finding(PARAMETER, name, (), count, "", 0.0, None, outlier=False)
    if not is_finite(parameters):
        return Finding(NORM, "", (), count, "", 0.0, None, outlier=False)
    return None


def _first(where: str, names: tuple[str, ...], values: np.ndarray) -> Finding | None:
    """Returns a finding on the first layer with a value that is not finite; None if all values are finite.

    Args:
      where: `FORWARD` or `BACKWARD`.
      names: names of the L layers, in the order of computation.
      values: [L, B], largest magnitude of each layer for each example.
    """
    finite = np.isfinite(values)
    layers = np.flatnonzero(~finite.all(axis=1))
    if not len(layers):
        return None
    layer = int(layers[0])
    rows = tuple(np.flatnonzero(~finite[layer]).tolist())
    if layer == 0:
        return Finding(where, names[0], rows, values.shape[1], "", 0.0, None, outlier=False)
    # All values of the previous layer are finite. The largest of them is the likeliest cause.
    row = int(np.argmax(values[layer - 1]))
    largest = float(values[layer - 1, row])
    outlier = largest > _OUTLIER * float(np.median(values[layer - 1].astype(np.float64)))
    return Finding(where, names[layer], rows, values.shape[1], names[layer - 1], largest, row, outlier=outlier)


def largest_weight(weights: Mapping[str, Any]) -> tuple[str, float]:
    """Returns the path and magnitude of the largest parameter, or of the first one that is not finite."""
    broken = [name for name, value in weights.items() if not np.isfinite(value)]
    name = broken[0] if broken else max(weights, key=lambda path: float(weights[path]))
    return name, float(weights[name])
