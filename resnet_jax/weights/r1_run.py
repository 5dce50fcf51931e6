"""Continues a run of "r1", the r1.x ResNet of the TensorFlow Models repository: its step, variables and momentum."""

import dataclasses
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.text import labelled, some_of
from resnet_jax.training.state import TrainState
from resnet_jax.weights.compatibility import check_settings
from resnet_jax.weights.formats import r1
from resnet_jax.weights.match import match_variables
from resnet_jax.weights.stored import StoredWeights

logger = logging.getLogger(__name__)

_CHECKPOINT = re.compile(r"model\.ckpt-(\d+)(?:\.index)?")  # file of a TensorFlow checkpoint, with .index in version 2
_MOMENTUM = re.compile(r"(?:^|/)trace/(.+)$")  # path in the optimizer state of the momentum of a parameter
_OTHERWISE = "or choose another --workdir and begin with its weights, --config.model.init_from"


def find_run(workdir: Path) -> Path | None:
    """Returns the prefix of TensorFlow's newest checkpoint in a work directory; None if there is none.

    The checkpoint is of the r1.x ResNet of the TensorFlow Models repository.

    Raises:
      UsageError: there are such checkpoints, but TensorFlow's file `checkpoint` does not name one of them.
    """
    if (workdir / "checkpoint").is_file():
        return r1.find_prefix(workdir)
    files = workdir.iterdir() if workdir.is_dir() else ()
    steps = sorted(int(match[1]) for file in files if (match := _CHECKPOINT.fullmatch(file.name)))
    if steps:
        line = f'model_checkpoint_path: "model.ckpt-{steps[-1]}"'
        raise UsageError(
            f"{workdir} holds model.ckpt-{steps[-1]} of r1 but not TensorFlow's file 'checkpoint', which names the "
            f"newest: write the line {line} to it, {_OTHERWISE}"
        )
    return None


def continue_r1(
    prefix: Path, state: TrainState, *, optimizer: Mapping[str, Any], network: Mapping[str, Any], any_input: bool
) -> TrainState:
    """Replaces step, variables and momentum of a training state by those of a checkpoint of TensorFlow.

    The checkpoint is of the r1.x ResNet of the TensorFlow Models repository. Its velocity is that of `optimizers.sgd`:
    neither contains the learning rate, and both contain the weight decay.

    Args:
      prefix: prefix of the checkpoint, from `find_run`.
      state: the state of step 0, arrays or shapes.
      optimizer: options of the optimizer of `state`, at least 'name' and 'decoupled'.
      network: settings of the network, config key -> value for all `NETWORK_KEYS`.
      any_input: accept weights that were trained with another padding or input normalization.

    Returns:
      `state` with numpy arrays; its moving average and its loss scale are those of step 0.

    Raises:
      UsageError: the checkpoint cannot be read, is of another network, or lacks the step or a momentum; or the
        optimizer is not SGD with coupled weight decay.
    """
    _check_optimizer(prefix, optimizer)
    stored = r1.read(prefix, None)
    check_settings(stored, network, any_input=any_input)
    matched = match_variables(stored, state.variables, head=True, allow_missing=())
    for line in matched.report:
        logger.debug("%s", line)
    step, momentum = r1.read_training_state(prefix, stored)
    loaded: dict[str, Any] = {"step": np.asarray(step, np.int32), **matched.variables}
    opt_state = _with_momentum(prefix, stored, momentum, state.opt_state)
    logger.info(labelled("r1", f"{prefix}: step {step}, weights, statistics and momentum"))
    return dataclasses.replace(state, opt_state=opt_state, **loaded)


def _check_optimizer(prefix: Path, optimizer: Mapping[str, Any]) -> None:
    if optimizer["name"] != "sgd" or optimizer["decoupled"]:
        kind = "'sgd' with decoupled weight decay" if optimizer["name"] == "sgd" else repr(optimizer["name"])
        raise UsageError(
            f"{prefix} is of a run of r1, whose momentum cannot be continued with {kind} (r1's LARS accumulates other "
            f"values): set config.optimizer.name=sgd and config.optimizer.decoupled=False, {_OTHERWISE}"
        )


def _with_momentum(prefix: Path, stored: StoredWeights, momentum: Mapping[str, np.ndarray], opt_state: Any) -> Any:
    """Returns the optimizer state with the momentum of the checkpoint.

    Args:
      prefix: prefix of the checkpoint, for messages.
      stored: the weights of the checkpoint.
      momentum: path of a parameter, such as 'params/head/kernel' -> its momentum.
      opt_state: the optimizer state of `optimizers.sgd`, arrays or shapes.
    """
    paths = {key: _parameter(key) for key in by_path(opt_state)}
    missing = sorted(path for path in paths.values() if path not in momentum)
    if missing:
        raise UsageError(
            f"{prefix} has no momentum of {some_of(missing)}, because r1 did not train them with momentum: give the "
            f"flags of that run (--fine_tune, --enable_lars), {_OTHERWISE}"
        )
    shapes = {paths[key]: leaf for key, leaf in by_path(opt_state).items()}
    arrays = {path: momentum[path] for path in shapes}
    wanted = unflatten_dict(shapes, sep="/")
    matched = match_variables(
        dataclasses.replace(stored, arrays=arrays, skipped={}, unknown=()), wanted, head=True, allow_missing=()
    )
    found = by_path(matched.variables)
    leaves, structure = jax.tree.flatten(opt_state)
    assert len(leaves) == len(paths)
    return jax.tree.unflatten(structure, [found[path] for path in paths.values()])


def _parameter(key: str) -> str:
    """Returns the path of the parameter whose momentum has the path `key` in the optimizer state."""
    match = _MOMENTUM.search(key)
    assert match, f"{key} is not in the state of optimizers.sgd"
    return f"params/{match[1]}"
