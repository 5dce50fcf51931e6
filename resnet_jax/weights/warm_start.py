"""Warm start: begins a new run with stored weights and, on request, with the optimizer state of another run."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from resnet_jax.data.class_names import fingerprint
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import is_bucket, is_hub_address, local_path
from resnet_jax.nested import by_path
from resnet_jax.storage.mirror import restored
from resnet_jax.text import labelled, some_of
from resnet_jax.training.state import TrainState, WeightsKind
from resnet_jax.weights import check_settings, match_variables, read_weights
from resnet_jax.weights.class_outputs import Classes, in_order_of
from resnet_jax.weights.compatibility import differing_settings
from resnet_jax.weights.formats import own
from resnet_jax.weights.stored import StoredWeights

logger = logging.getLogger(__name__)

_WITHOUT_OPTIMIZER = "set config.model.init_optimizer=False to begin with a new optimizer state"


def warm_start_state(
    path: str, state: TrainState, *, optimizer: str | None, statistics: bool = True, **options: Any
) -> TrainState:
    """Replaces the variables of a training state by stored weights; with `optimizer`, also the optimizer state.

    Args:
      path: see `read_weights`.
      state: the state of step 0, arrays or shapes.
      optimizer: name of the optimizer of `state`. If given, `path` must be a checkpoint; its trained weights and its
        optimizer state are loaded, and the moving average of the weights if the checkpoint and `state` have one.
        None: only weights are loaded.
      statistics: load the running statistics of batch norms too; False keeps those of `state`.
      options: keyword arguments of `warm_start_variables`.

    Returns:
      `state`, with numpy arrays where something was loaded; the step and the loss scale are those of `state`.

    Raises:
      UsageError: raised by `warm_start_variables` or `warm_start_optimizer`.
    """
    if not statistics:
        logger.info(labelled("statistics", "of batch norms are not loaded: means start at 0, variances at 1"))

    def load(kind: WeightsKind | None, variables: dict[str, Any]) -> dict[str, Any]:
        loaded = warm_start_variables(read_weights(path, kind=kind), variables, **options)
        return loaded if statistics else loaded | {"batch_stats": variables["batch_stats"]}

    if optimizer is None:
        return dataclasses.replace(state, **load(None, state.variables))
    opt_state = warm_start_optimizer(path, state.opt_state, name=optimizer)
    variables = load("trained", state.variables)
    average = state.average
    if average is not None and own.has_average(_resolved(path)):
        average = load("ema", average)
    return dataclasses.replace(state, **variables, opt_state=opt_state, average=average)


def warm_start_optimizer(path: str, opt_state: optax.OptState, *, name: str) -> optax.OptState:
    """Returns the optimizer state of a checkpoint, as numpy arrays in the structure of `opt_state`.

    Settings of the optimizer that have no state may differ: clipping, learning rate factors, kind of weight decay.

    Args:
      path: a work directory of this program, or one of its checkpoints.
      opt_state: the optimizer state to replace, arrays or shapes.
      name: name of the optimizer of `opt_state`, for example 'sgd'.

    Raises:
      UsageError: the path is no checkpoint of this program, or has another optimizer or other trained parameters.
    """
    if is_hub_address(path) or not ((resolved := _resolved(path)).is_dir() and own.holds_checkpoint(resolved)):
        raise UsageError(
            f"{path} is not a run or a checkpoint of this program, and has no optimizer state: {_WITHOUT_OPTIMIZER}"
        )
    arrays, trained_with = own.read_optimizer_state(resolved)
    if trained_with not in (None, name):
        raise UsageError(f"{path} was trained with {trained_with!r}, not {name!r}: {_WITHOUT_OPTIMIZER}")
    stored = {_without_positions(key): array for key, array in arrays.items()}
    wanted = {_without_positions(key): leaf for key, leaf in by_path(opt_state).items()}
    differing = sorted(
        key
        for key in stored.keys() | wanted.keys()
        if key not in stored or key not in wanted or stored[key].shape != wanted[key].shape
    )
    if differing:
        raise UsageError(
            f"the optimizer state of {path} belongs to other trained parameters ({some_of(differing)}): "
            f"{_WITHOUT_OPTIMIZER}"
        )
    logger.info(labelled("optimizer", f"state of {len(stored)} arrays from {path}"))
    leaves = [stored[_without_positions(key)] for key in by_path(opt_state)]
    return jax.tree.unflatten(jax.tree.structure(opt_state), leaves)


def _without_positions(key: str) -> str:
    """Removes the positions in `optax.chain`, which depend on the options, from a path: '1/trace/a' -> 'trace/a'."""
    return "/".join(part for part in key.split("/") if not part.isdigit())


def _resolved(path: str) -> Path:
    return restored(path) if is_bucket(path) else local_path(path, name="config.model.init_from").resolve()


def warm_start_variables(
    stored: StoredWeights,
    variables: dict[str, Any],
    *,
    head: bool,
    classes: Classes,
    allow_missing: Sequence[str],
    settings: Mapping[str, Any],
    any_input: bool,
) -> dict[str, Any]:
    """Replaces the variables of a network by stored weights, and logs which arrays were loaded.

    Args:
      stored: the weights.
      variables: 'params' and 'batch_stats', arrays or shapes.
      head: load the last layer too; False keeps the one in `variables`.
      classes: the classes of the data.
      allow_missing: see `match_variables`.
      settings: settings of the network, config key -> value for all `NETWORK_KEYS`.
      any_input: accept weights that were trained with another padding or input normalization.

    Returns:
      `variables`, with numpy arrays where weights were loaded.

    Raises:
      UsageError: raised by `check_settings`, `match_variables` or `in_order_of`; or `head` is set and the weights were
        trained on other classes.
    """
    logger.info(labelled("weights", f"{stored.path}: {stored.format}"))
    check_settings(stored, settings, any_input=any_input)
    for key in differing_settings(stored, settings):
        trained = stored.settings[key]
        logger.info(labelled("other input", f"{key} is {settings[key]}, the weights were trained with {trained}"))
    if head and stored.class_list not in (None, fingerprint(classes.names)):
        raise UsageError(
            f"{stored.path} was trained on other classes, or in another order: set config.model.init_head=False to "
            "start with a new last layer"
        )
    matched = match_variables(stored, variables, head=head, allow_missing=allow_missing)
    for line in matched.report:
        logger.info("%s", line)
    for pattern in matched.unused_patterns:
        logger.warning(labelled("unused", f"config.model.allow_missing: {pattern!r} matches no variable that differs"))
    logger.debug("weights, name by name\n%s", "\n".join(matched.table))
    loaded = matched.variables
    if head and stored.class_list is None and isinstance(loaded["params"]["head"]["bias"], np.ndarray):
        return in_order_of(classes, loaded, path=stored.path)[0]
    return loaded
