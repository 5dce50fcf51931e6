"""Counts the FLOPs that training a network requires, whatever program computes them.

Model FLOPs utilisation (MFU) divides these by the peak FLOPs of the devices; hardware FLOPs utilisation (HFU) divides
the FLOPs of the compiled program, which may compute more, by the peak (Chowdhery et al. 2022, PaLM, appendix B).

Counted are the multiply-accumulates of convolutions and matrix products, two FLOPs each, over the whole kernel, padding
included: the convention of the published 4.09 GMACs of ResNet-50 v1.5 at 224 pixels. XLA does not count products with
padding, which are 3 % there. Norms, activations, pooling and the optimizer are not counted.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from resnet_jax.experiment import Experiment
from resnet_jax.models.resnet import ResNet


class _Origin(NamedTuple):
    """What a value is computed from."""

    image: bool  # whether from the input of the network
    trained: bool  # whether from a trained parameter


_CONSTANT = _Origin(image=False, trained=False)


def model_flops_per_step(experiment: Experiment, image_size: int) -> float:
    """Returns the model FLOPs of a training step on each device."""
    parts = experiment.computation
    per_image = model_flops(parts.model, parts.shapes, image_size, trainable=parts.trainable)
    return per_image * experiment.data.train_loader.batch_size / parts.mesh.size


def model_flops(model: ResNet, variables: Mapping[str, Any], image_size: int, *, trainable: str) -> int:
    """Returns the FLOPs that one image takes in training, forward and backward.

    A convolution or matrix product costs its forward pass once for itself, once for the gradient of its input, and once
    for the gradient of its kernel: three times. Where parameters are frozen, less is required: no gradient of a frozen
    kernel, and no gradient at all of layers before the first trained parameter.

    Args:
      model: the network; 'space_to_depth' counts as 'conv7', the same function without multiplications by zero.
      variables: 'params' and 'batch_stats' of the network, arrays or their shapes.
      image_size: pixels of a side.
      trainable: regular expression searched in parameter paths (`training/trainable.py`); '' finds all parameters.
    """
    if model.stem == "space_to_depth":
        model = model.clone(stem="conv7")
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    # In evaluation each product is computed plainly: the statistics of fused products exist only in training.
    forward = jax.make_jaxpr(lambda variables, x: model.apply(variables, x, train=False))(variables, image)
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    origins = [_Origin(image=False, trained=_is_trained(path, trainable)) for path, _ in leaves]
    products, _ = _walk(forward.jaxpr, [*origins, _Origin(image=True, trained=False)])
    return 2 * sum(products)


def _is_trained(path: Sequence[Any], trainable: str) -> bool:
    collection, *names = (key.key for key in path)
    return collection == "params" and re.search(trainable, "/".join(names)) is not None


def _walk(jaxpr: core.Jaxpr, inputs: Sequence[_Origin]) -> tuple[list[int], list[_Origin]]:
    """Returns the training multiply-accumulates of each product of a jaxpr, and the origins of its outputs."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def origin(atom: Any) -> _Origin:
        return _CONSTANT if isinstance(atom, core.Literal) else known.get(atom, _CONSTANT)

    products: list[int] = []
    for equation in jaxpr.eqns:
        operands = [origin(atom) for atom in equation.invars]
        inner = next(_sub_jaxprs(equation), None)
        if inner is None:
            results = [_union(operands)] * len(equation.outvars)
            products += [_forward_macs(equation) * _passes(operands)]
        else:
            found, results = _walk(inner, operands)
            products += found
        known.update(zip(equation.outvars, results, strict=True))
    return products, [origin(atom) for atom in jaxpr.outvars]


def _sub_jaxprs(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """Yields the jaxpr of a call: `jit`, a function with a custom gradient, or recomputation."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in equation.params:
            jaxpr = equation.params[name]
            yield getattr(jaxpr, "jaxpr", jaxpr)


def _union(operands: Sequence[_Origin]) -> _Origin:
    return _Origin(image=any(o.image for o in operands), trained=any(o.trained for o in operands))


def _passes(operands: Sequence[_Origin]) -> int:
    """Returns how many products training computes for one: itself, the gradients of its input and of its kernel."""
    return 1 + any(o.trained for o in operands) + any(o.trained and not o.image for o in operands)


def _forward_macs(equation: Any) -> int:
    """Returns the multiply-accumulates of an equation of a jaxpr: those of a convolution or matrix product, else 0."""
    result = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
    if equation.primitive.name == "conv_general_dilated":
        kernel, layout = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
        return result * math.prod(kernel) // kernel[layout[0]]  # spatial size x input channels of a group
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return result * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    return 0
