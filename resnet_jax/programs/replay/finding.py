"""Finds where the first number of a step that is not finite arises: in which layer, for which examples, and why."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.experiment.replayed_step import LayerReport
from resnet_jax.training.layer_probe import ParameterReport, is_finite

FORWARD, BACKWARD, PARAMETER, NORM = "forward", "backward", "parameter", "norm"
_FEW = 0.5  # share of the examples up to which these examples count as the cause
_OUTLIER = 10  # largest magnitude / median of the examples from which the example with it counts as the cause


class Finding(NamedTuple):
    """Where the first number that is not finite arises."""

    where: str  # `FORWARD`, `BACKWARD`, `PARAMETER` (a gradient of a parameter) or `NORM` (of the gradient)
    name: str  # of the layer or the parameter; '' for the norm
    rows: tuple[int, ...]  # of the examples with such numbers; () for parameters and the norm
    images: int  # of the batch
    before: str  # the layer that was computed before it; '': there is none
    largest_before: float  # largest magnitude in that layer
    largest_row: int | None  # the example with this magnitude; None: there is no layer before
    outlier: bool  # whether this magnitude is far above those of the other examples

    @property
    def in_few(self) -> bool:
        """Whether the numbers arise in some examples only, which are then the cause."""
        return 0 < len(self.rows) <= _FEW * self.images


def find(layers: LayerReport, parameters: ParameterReport) -> Finding | None:
    """Returns where the first number that is not finite arises, in the order of computation; None: nowhere.

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
    """Returns the first layer with values that are not finite: L names, [L, B] largest magnitudes."""
    finite = np.isfinite(values)
    layers = np.flatnonzero(~finite.all(axis=1))
    if not len(layers):
        return None
    layer = int(layers[0])
    rows = tuple(np.flatnonzero(~finite[layer]).tolist())
    if layer == 0:
        return Finding(where, names[0], rows, values.shape[1], "", 0.0, None, outlier=False)
    # Of the layer before, all values are finite: the largest is the likeliest cause.
    row = int(np.argmax(values[layer - 1]))
    largest = float(values[layer - 1, row])
    outlier = largest > _OUTLIER * float(np.median(values[layer - 1].astype(np.float64)))
    return Finding(where, names[layer], rows, values.shape[1], names[layer - 1], largest, row, outlier=outlier)


def largest_weight(weights: Mapping[str, Any]) -> tuple[str, float]:
    """Returns the path and the magnitude of the largest parameter, or of one that is not finite."""
    broken = [name for name, value in weights.items() if not np.isfinite(value)]
    name = broken[0] if broken else max(weights, key=lambda path: float(weights[path]))
    return name, float(weights[name])
