"""Starting from the weights of an earlier run, whole or in part."""

import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from resnet_jax.errors import UsageError
from resnet_jax.optimizers import leaf_path, select_leaves
from resnet_jax.state import Weights
from resnet_jax.stored_weights import find_checkpoint, read_class_list, read_variables

logger = logging.getLogger(__name__)

HEAD = "params/head/"


def begin_with(path: str, variables: dict[str, Any], *, head: bool, class_list: str) -> dict[str, Any]:
    """Fills variables for a run on the classes of fingerprint `class_list`; otherwise as `start_from`.

    Raises:
      UsageError: as `start_from`, or the last layer is that of other classes.
    """
    if head and read_class_list(Path(path)) not in (None, class_list):
        raise UsageError(
            f"{path} was trained on other classes, or in another order: set config.model.init_head=False to begin "
            "with a new last layer"
        )
    logger.info("weights      %s", find_checkpoint(Path(path)))
    return start_from(path, variables, head=head)


def start_from(path: str, variables: dict[str, Any], *, head: bool, weights: Weights | None = None) -> dict[str, Any]:
    """Fills variables with those of a checkpoint.

    Args:
      path: the work directory of a run (its newest checkpoint is taken), or one checkpoint.
      variables: 'params' and 'batch_stats', arrays or shapes.
      head: take the last layer too; if not, it stays as it is.
      weights: those that were trained or their average; None: the average if there is one.

    Returns:
      The same tree; numpy arrays where the checkpoint was read.

    Raises:
      UsageError: there is no checkpoint, or it is of another network.
    """
    read = read_variables(Path(path), weights=weights)
    there = {leaf_path(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(read)}
    here = {leaf_path(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(variables)}
    if not head:
        there = {name: leaf for name, leaf in there.items() if not name.startswith(HEAD)}
    wanted = {name for name in here if head or not name.startswith(HEAD)}
    _check_names(path, set(there), wanted)
    for name in sorted(wanted):
        if np.shape(there[name]) != here[name].shape:
            cure = "; set config.model.init_head=False to begin with a new one" if name.startswith(HEAD) else ""
            raise UsageError(
                f"{path} is of another network: {name} is {np.shape(there[name])} there, {here[name].shape} here{cure}"
            )
    return jax.tree_util.tree_map_with_path(lambda key, leaf: there.get(leaf_path(key), leaf), variables)


def train_only(optimizer: optax.GradientTransformationExtraArgs, pattern: str) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer that leaves other parameters as they are, and keeps nothing for them.

    Args:
      optimizer: sees the others no more, for the length of the gradient neither.
      pattern: regular expression searched in 'block/layer/leaf' paths; the leaves it finds are trained.

    Raises:
      UsageError: when used: the pattern is no regular expression, or finds no leaf.
    """

    def labels(params: Any) -> Any:
        selected = select_leaves(params, pattern, key="train.trainable")
        return jax.tree.map(lambda is_selected: "trained" if is_selected else "frozen", selected)

    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


def _check_names(path: str, there: set[str], wanted: set[str]) -> None:
    for names, where in ((wanted - there, "not there"), (there - wanted, "not here")):
        if names:
            some = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UsageError(f"{path} is of another network: {some}, {where}")
