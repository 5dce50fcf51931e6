"""Optimizers as gradient transformations without a learning rate; the step multiplies by that of its schedule."""

import re
from collections.abc import Callable
from typing import Any

import jax
import optax

from resnet_jax.errors import UsageError


def sgd(*, momentum: float, nesterov: bool, weight_decay: float, decay_pattern: str) -> optax.GradientTransformation:
    """SGD with momentum and L2 regularisation: v <- momentum * v + (g + weight_decay * w); w <- w - lr * v.

    The rate multiplies the velocity when it is used and is not stored in it, as in PyTorch and TensorFlow.
    With `nesterov` the step is g + weight_decay * w + momentum * v (Sutskever et al. 2013).

    Args:
      momentum: decay of the velocity, 0 <= momentum < 1.
      nesterov: look ahead along the velocity.
      weight_decay: factor of w in the gradient, that is the gradient of weight_decay * |w|^2 / 2.
      decay_pattern: regular expression searched in 'block/layer/leaf' paths; the leaves it finds are decayed.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=lambda params: decay_mask(params, decay_pattern)),
        optax.trace(decay=momentum, nesterov=nesterov),
    )


def decay_mask(params: Any, pattern: str) -> Any:
    """Marks the leaves whose path, as 'stage1_block1/conv1/kernel', `pattern` finds.

    Raises:
      UsageError: the pattern is no regular expression, or finds no leaf at all.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"optimizer.decay_pattern={pattern!r} is no regular expression: {error}") from None
    mask = jax.tree_util.tree_map_with_path(lambda path, _: bool(expression.search(leaf_path(path))), params)
    if not any(jax.tree.leaves(mask)):
        raise UsageError(f"optimizer.decay_pattern={pattern!r} matches no parameter; kernels match 'kernel$'")
    return mask


def leaf_path(path: tuple) -> str:
    """A pytree key path as 'stage1_block1/conv1/kernel'."""
    return "/".join(str(key.key) for key in path)


def create_optimizer(name: str, **options: Any) -> optax.GradientTransformation:
    """Makes an optimizer by name with the options of its function.

    Raises:
      UsageError: no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise UsageError(f"optimizer.name={name!r} is not one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name](**options)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {"sgd": sgd}
