"""Counts the FLOPs that training a network requires, whatever program computes them.

Model FLOPs utilization (MFU) is the number of these FLOPs per second, divided by the peak FLOPs per second of the
devices. Hardware FLOPs utilization (HFU) uses the FLOPs that the compiled program executes instead, which may be more
(Chowdhery et al. 2022, PaLM, appendix B).

The multiply-accumulates of convolutions and matrix products are counted, two FLOPs each, including multiplications with
padding: the convention of the published 4.09 GMACs of ResNet-50 v1.5 at 224 pixels. XLA does not count multiplications
with padding, which are 3 % of those 4.09 GMACs. Norms, activations, pooling and the optimizer are not counted.
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


class _Dependence(NamedTuple):
    """What a value in a jaxpr depends on."""

    image: bool  # whether the value depends on the input image
    trained: bool  # whether the value depends on a trained parameter


_CONSTANT = _Dependence(image=False, trained=False)


def model_flops_per_step(experiment: Experiment, image_size: int) -> float:
    """Returns the model FLOPs of a training step on each device."""
    parts = experiment.computation
    per_image = model_flops(parts.model, parts.shapes, image_size, trainable=parts.trainable)
    return per_image * experiment.data.train_loader.batch_size / parts.mesh.size


def model_flops(model: ResNet, variables: Mapping[str, Any], image_size: int, *, trainable: str) -> int:
    """Returns the FLOPs of the forward and backward pass of one image in training.

    A convolution or matrix product takes the same number of FLOPs three times: in the forward pass, for the gradient of
    its input, and for the gradient of its kernel. If parameters are frozen, less is required: no gradient of a frozen
    kernel, and no gradient at all of layers before the first trained parameter.

    Args:
      model: the network. Stem 'space_to_depth' counts as stem 'conv7', which computes the same function without
        multiplications by zero.
      variables: 'params' and 'batch_stats' of the network, as arrays or as shapes.
      image_size: height and width of the image in pixels.
      trainable: regular expression that is searched in the paths of parameters (`training/trainable.py`): the
        parameters in whose paths it is found are trained; '' means all.
    """
    if model.stem == "space_to_depth":
        model = model.clone(stem="conv7")
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    # `train=False`, because with `train=True` the module `FusedConvNorm` computes additional matrix products, which the
    # network does not require.
    forward = jax.make_jaxpr(lambda variables, x: model.apply(variables, x, train=False))(variables, image)
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    dependences = [_Dependence(image=False, trained=_is_trained(path, trainable)) for path, _ in leaves]
    macs, _ = _walk(forward.jaxpr, [*dependences, _Dependence(image=True, trained=False)])
    return 2 * sum(macs)


def _is_trained(path: Sequence[Any], trainable: str) -> bool:
    collection, *names = (key.key for key in path)
    return collection == "params" and re.search(trainable, "/".join(names)) is not None


def _walk(jaxpr: core.Jaxpr, inputs: Sequence[_Dependence]) -> tuple[list[int], list[_Dependence]]:
    """Counts the multiply-accumulates (MACs) of training, forward and backward, for each equation of a jaxpr.

    Args:
      jaxpr: the forward pass of the network, or of a function that it calls.
      inputs: what each input of the jaxpr depends on.

    Returns:
      Two lists: the MACs of each equation (0 if it is neither a convolution nor a matrix product), and what each output
      of the jaxpr depends on.
    """
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def dependence(atom: Any) -> _Dependence:
        return _CONSTANT if isinstance(atom, core.Literal) else known.get(atom, _CONSTANT)

    macs: list[int] = []
    for equation in jaxpr.eqns:
        operands = [dependence(atom) for atom in equation.invars]
        inner = next(_sub_jaxprs(equation), None)
        if inner is None:
            results = [_union(operands)] * len(equation.outvars)
            macs += [_forward_macs(equation) * _passes(operands)]
        else:
            found, results = _walk(inner, operands)
            macs += found
        known.update(zip(equation.outvars, results, strict=True))
    return macs, [dependence(atom) for atom in jaxpr.outvars]


def _sub_jaxprs(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """Yields the jaxpr inside an equation of `jit`, a custom gradient or `jax.checkpoint`; nothing for other ones."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in equation.params:
            jaxpr = equation.params[name]
            yield getattr(jaxpr, "jaxpr", jaxpr)


def _union(operands: Sequence[_Dependence]) -> _Dependence:
    return _Dependence(image=any(o.image for o in operands), trained=any(o.trained for o in operands))


def _passes(operands: Sequence[_Dependence]) -> int:
    """Returns how many times the forward FLOPs of a convolution or matrix product count in training.

    3 if its kernel is trained: for the forward pass, the gradient of its input and the gradient of its kernel. 2 if
    only its input depends on trained parameters: for the forward pass and the gradient of its input. Otherwise 1.
    """
    return 1 + any(o.trained for o in operands) + any(o.trained and not o.image for o in operands)


def _forward_macs(equation: Any) -> int:
    """Returns the multiply-accumulates of a jaxpr equation; 0 if it is neither convolution nor matrix product."""
    result = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
    if equation.primitive.name == "conv_general_dilated":
        kernel, layout = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
        return result * math.prod(kernel) // kernel[layout[0]]  # MACs per output value: kernel size / output channels
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return result * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    return 0
