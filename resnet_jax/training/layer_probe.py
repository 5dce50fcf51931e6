"""Measures each layer in a training step: the largest magnitude of its output and of the gradient at its output.

Both are measured for each example. If a value is NaN or infinite, so is the largest magnitude. The first layer, in the
order of computation, whose largest magnitude is not finite is therefore the layer in which the first NaN or infinity
arises.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from resnet_jax.nested import by_path
from resnet_jax.training.gradients import ForwardFn, Gradients, IndexedBatch, Variables

INPUT, LOSS = "input of the network", "loss"


class Probed(NamedTuple):
    """Largest magnitudes in a micro-batch of B examples, all float32; NaN where a measured value is NaN."""

    inputs: jax.Array  # [B], largest magnitudes of the augmented and normalized images
    outputs: jax.Array  # [L, B], largest magnitudes of the outputs of the L layers of `layer_names`
    losses: jax.Array  # [B], magnitudes of the losses
    gradients: jax.Array  # [L, B], largest magnitudes of d(loss scale * mean loss) / d(output) of each layer


ProbeFn = Callable[[Variables, IndexedBatch, jax.Array, jax.Array | float], Probed]


def layer_names(forward_fn: ForwardFn, variables: Variables, indexed: IndexedBatch, key: jax.Array) -> tuple[str, ...]:
    """Returns the names of the layers in the order in which they are computed; traces the network, computes nothing.

    A residual block counts as a layer too: its name, such as 'stage1_block1', follows the names of its layers.

    Args:
      forward_fn: computes the forward pass, see `make_forward_fn`.
      variables: variables of the network, arrays or shapes.
      indexed: a micro-batch, arrays or shapes.
      key: the random key of the step.
    """
    taps = _Taps(None)
    with nn.intercept_methods(taps):
        # `partial` makes a new function. JAX would not trace `forward_fn` again if it has done so with the same shapes.
        jax.eval_shape(functools.partial(forward_fn), variables, indexed, key)
    return tuple(taps.names)


def make_probe(forward_fn: ForwardFn) -> ProbeFn:
    """Returns the function that maps variables, a micro-batch, the step's key and the loss scale to `Probed`.

    Measuring does not change the forward and backward pass, except that XLA may round differently than in the training
    step, because it fuses other operations.
    """

    def probe(variables: Variables, indexed: IndexedBatch, key: jax.Array, scale: jax.Array | float) -> Probed:
        count = len(layer_names(forward_fn, variables, indexed, key))

        def scaled_loss(probes: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
            taps = _Taps(probes)
            with nn.intercept_methods(taps):
                found = forward_fn(variables, indexed, key)
            measured = (_largest(found.inputs.images), jnp.stack(taps.largest), jnp.abs(found.losses))
            return scale * jnp.mean(found.losses), measured

        probes = jnp.zeros((count, len(indexed.row_numbers)), jnp.float32)
        gradients, (inputs, outputs, losses) = jax.grad(scaled_loss, has_aux=True)(probes)
        return Probed(inputs, outputs, losses, gradients)

    return probe


class _Taps:
    """Intercepts the calls of a network's modules; measures their outputs and the gradients with respect to these."""

    def __init__(self, probes: jax.Array | None):
        """Stores the probes.

        Args:
          probes: zeros [L, B]. The gradient with respect to them is defined as the largest magnitudes of the gradients
            of the L layers (see `_tap`). None: only names and outputs are recorded.
        """
        self._probes = probes
        self.names: list[str] = []
        self.largest: list[jax.Array] = []  # for each layer the largest magnitudes of its output, [B]

    def __call__(self, call: Callable[..., Any], values: Any, options: Any, context: Any) -> Any:
        output = call(*values, **options)
        if context.method_name != "__call__" or not context.module.path:  # an empty path means the whole network
            return output
        if self._probes is not None:
            output = _tap(output, self._probes[len(self.names)])
        self.names.append(_name(context.module))
        self.largest.append(_largest(output))
        return output


def _name(module: nn.Module) -> str:
    """Returns the path of a module, such as 'stage1_block1/conv1'; for a fused module, names the modules in it."""
    inner = [getattr(module, name, None) for name in ("conv", "norm")]
    paths = ["/".join(one.path) for one in inner if isinstance(one, nn.Module)]
    if not paths:
        return "/".join(module.path)
    words = {"FusedNormRelu": " with ReLU", "FusedNormPool": " with max-pool"}
    return " and ".join([paths[0], *(path.rsplit("/", 1)[-1] for path in paths[1:])]) + words.get(
        type(module).__name__, ""
    )


def _largest(values: jax.Array) -> jax.Array:
    """Returns the largest magnitude of each example: [B, ...] -> [B] float32; NaN if one of its values is NaN."""
    return jnp.max(jnp.abs(values.astype(jnp.float32)).reshape(len(values), -1), axis=1)


@jax.custom_vjp
def _tap(values: jax.Array, probe: jax.Array) -> jax.Array:
    """Returns `values`. The gradient of `probe`, [B], is `_largest` of the gradient of `values`."""
    del probe
    return values


def _tap_forward(values: jax.Array, probe: jax.Array) -> tuple[jax.Array, None]:
    return _tap(values, probe), None


def _tap_backward(_: None, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    return cotangent, _largest(cotangent)


_tap.defvjp(_tap_forward, _tap_backward)


class ParameterReport(NamedTuple):
    """Measures of the parameters and of their gradients, by path such as 'stage1_block1/conv1/kernel'; all float32."""

    loss: jax.Array  # sum of the losses of the batch
    squares: dict[str, jax.Array]  # sum of squares of the gradient of the unscaled loss; only for trained parameters
    gradients: dict[str, jax.Array]  # largest magnitude of the gradient of the unscaled loss
    weights: dict[str, jax.Array]  # largest magnitude of each parameter


def report_parameters(params: Any, gradients: Gradients, scale: jax.Array | float) -> ParameterReport:
    """Measures parameters and their gradients.

    Args:
      params: the parameters before the update.
      gradients: the gradients of a batch, from a function of `make_gradient_fn`.
      scale: the loss scale; the gradients are divided by it before they are measured.
    """
    grads = by_path(jax.tree.map(lambda grad: grad / scale, gradients.params))
    return ParameterReport(
        loss=gradients.examples.loss,
        squares={name: jnp.sum(jnp.square(grad.astype(jnp.float32))) for name, grad in grads.items()},
        gradients={name: jnp.max(jnp.abs(grad)) for name, grad in grads.items()},
        weights={name: jnp.max(jnp.abs(leaf)) for name, leaf in by_path(params).items()},
    )


def is_finite(report: ParameterReport) -> bool:
    """Returns whether the loss, every gradient and the global norm of the gradients are finite.

    Args:
      report: the measures, copied to the host.
    """
    squares = [float(square) for square in report.squares.values()]
    values = [float(report.loss), *(float(largest) for largest in report.gradients.values())]
    return all(map(math.isfinite, values)) and sum(squares) <= float(jnp.finfo(jnp.float32).max)


def norms_by_stage(squares: Mapping[str, Any]) -> dict[str, float]:
    """Returns the gradient norm of each part of the network: 'stem', 'stage1', ..., 'final_bn' (version 2), 'head'.

    Args:
      squares: `ParameterReport.squares`, copied to the host.
    """
    stages: dict[str, float] = {}
    for path, square in sorted(squares.items(), key=lambda item: (_place(_stage(item[0])), item[0])):
        stages[_stage(path)] = stages.get(_stage(path), 0.0) + float(square)
    return {stage: math.sqrt(total) for stage, total in stages.items()}


def _stage(path: str) -> str:
    name = path.split("/", 1)[0]
    return name.split("_", 1)[0] if name.startswith(("stem_", "stage")) else name


def _place(stage: str) -> int:
    """Returns a number by which the parts of the network are sorted from input to output."""
    return {"stem": 0, "final_bn": 2, "head": 3}.get(stage, 1)
