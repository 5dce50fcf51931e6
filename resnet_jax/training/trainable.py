"""Training a subset of the parameters; the frozen ones have no gradient, no update and no optimizer state."""

from typing import Any

import jax
import optax

from resnet_jax.errors import UsageError
from resnet_jax.training.optimizers import is_masked, select_leaves

_ABBREVIATIONS = {"head": "^head/", "all": ""}


def trainable_pattern(value: str | None) -> str:
    """Returns the regular expression that a value of `train.trainable` stands for. None and 'all' stand for ''.

    Raises:
      UsageError: the value is '', for example from a shell variable that is not set.
    """
    if value == "":
        raise UsageError(
            "config.train.trainable is empty: set it to 'all' or 'head', or to a regular expression of the parameters "
            "to train"
        )
    return "" if value is None else _ABBREVIATIONS.get(value, value)


def only_trained(tree: Any, pattern: str) -> Any:
    """Returns the tree with `optax.MaskedNode` in place of every frozen parameter.

    Args:
      tree: parameters or gradients; leaves may already be masked.
      pattern: regular expression searched for in paths such as 'stage1_block1/conv1/kernel'; matching leaves are
        trained.

    Raises:
      UsageError: the pattern is not a regular expression, or matches no leaf.
    """
    selected = select_leaves(tree, pattern, key="train.trainable")
    return jax.tree.map(lambda is_trained, leaf: leaf if is_trained else optax.MaskedNode(), selected, tree)


def with_frozen(trained: Any, params: Any) -> Any:
    """Returns `trained` with its masked nodes replaced by the leaves of `params`."""
    return jax.tree.map(lambda leaf, own: own if is_masked(leaf) else leaf, trained, params, is_leaf=is_masked)


def train_only(optimizer: optax.GradientTransformationExtraArgs, pattern: str) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer of the trained parameters only; frozen ones do not count in its gradient norm either.

    Args:
      optimizer: the optimizer to wrap; it receives trees in which the frozen parameters are masked.
      pattern: regular expression, see `only_trained`; errors in it are raised by `init` and `update`.

    Returns:
      An optimizer whose updates have masked nodes for the frozen parameters; apply them with `apply_updates`.
    """

    def init(params: Any) -> optax.OptState:
        return optimizer.init(only_trained(params, pattern))

    def update(grads: Any, state: optax.OptState, params: Any, **others: Any) -> tuple[Any, optax.OptState]:
        return optimizer.update(only_trained(grads, pattern), state, only_trained(params, pattern), **others)

    return optax.GradientTransformationExtraArgs(init, update)


def apply_updates(params: Any, updates: Any) -> Any:
    """Adds updates to the trained parameters; frozen parameters are returned unchanged."""
    return jax.tree.map(
        lambda update, leaf: leaf if is_masked(update) else optax.apply_updates(leaf, update),
        updates,
        params,
        is_leaf=is_masked,
    )
