"""Training some of the parameters: the others have no gradient, no update and nothing in the optimizer's state."""

from typing import Any

import jax
import optax

from resnet_jax.errors import UsageError
from resnet_jax.training.optimizers import is_masked, select_leaves

_SHORT = {"head": "^head/"}


def trainable_pattern(value: str | None) -> str:
    """The regular expression that a value of `train.trainable` stands for; None: that which finds every parameter.

    Raises:
      UsageError: it is empty, as a variable of a shell that was never set.
    """
    if value == "":
        raise UsageError("config.train.trainable is empty: leave it out to train everything, or say which, as 'head'")
    return "" if value is None else _SHORT.get(value, value)


def only_trained(tree: Any, pattern: str) -> Any:
    """The parameters that are trained, or their gradients; the others are empty nodes: `optax.MaskedNode`.

    Args:
      tree: parameters or gradients; some may be empty nodes already.
      pattern: regular expression searched in 'block/layer/leaf' paths; the leaves it finds are trained.

    Raises:
      UsageError: the pattern is no regular expression, or finds no leaf.
    """
    selected = select_leaves(tree, pattern, key="train.trainable")
    return jax.tree.map(lambda is_trained, leaf: leaf if is_trained else optax.MaskedNode(), selected, tree)


def with_frozen(trained: Any, params: Any) -> Any:
    """Puts the leaves of `params` in place of the empty nodes of `trained`."""
    return jax.tree.map(lambda leaf, own: own if is_masked(leaf) else leaf, trained, params, is_leaf=is_masked)


def train_only(optimizer: optax.GradientTransformationExtraArgs, pattern: str) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer that sees what is trained and nothing else, for the length of the gradient neither.

    Args:
      optimizer: of those parameters.
      pattern: see `only_trained`, which raises when the optimizer is used.

    Returns:
      Its updates have empty nodes in place of the others: see `apply_updates`.
    """

    def init(params: Any) -> optax.OptState:
        return optimizer.init(only_trained(params, pattern))

    def update(grads: Any, state: optax.OptState, params: Any, **others: Any) -> tuple[Any, optax.OptState]:
        return optimizer.update(only_trained(grads, pattern), state, only_trained(params, pattern), **others)

    return optax.GradientTransformationExtraArgs(init, update)


def apply_updates(params: Any, updates: Any) -> Any:
    """Adds the updates to the parameters that have one; nothing is added to the others, not even zeros."""
    return jax.tree.map(
        lambda update, leaf: leaf if is_masked(update) else optax.apply_updates(leaf, update),
        updates,
        params,
        is_leaf=is_masked,
    )
