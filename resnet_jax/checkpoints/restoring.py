"""Restores one checkpoint on all processes, and checks that it belongs to the model and the data of this run."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.files import DamagedError
from resnet_jax.checkpoints.host_copy import copy_to_devices
from resnet_jax.distributed import agreement
from resnet_jax.distributed.agreement import Gather
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path, difference, has_shape

logger = logging.getLogger(__name__)


def restore_together(path: Path, abstract_state: Any, *, gather: Gather) -> tuple[Any, dict[str, Any]]:
    """Reads a checkpoint on every process. If one process has an error, all processes raise it.

    Args:
      path: absolute path of the checkpoint.
      abstract_state: a pytree of arrays or of `jax.ShapeDtypeStruct`, with the shapes, dtypes and shardings of the
        result.
      gather: all-gather of one text per process; every process must call this function.

    Returns:
      The state on the devices, and the JSON values that were saved with it.

    Raises:
      DamagedError: the content of the checkpoint differs from what was saved.
      UsageError: the checkpoint is of another model, or cannot be read from the disk.
    """
    problem: Exception | None = None
    try:
        meta, _ = files.read_meta(path)
        arrays = files.read(path)
        _check_model(path, arrays, abstract_state)
    except (DamagedError, UsageError) as error:
        problem = error
    # UsageError takes precedence: a checkpoint must not be moved as damaged if one process cannot read the disk.
    agreement.raise_alike(gather, problem, kinds=(UsageError, DamagedError))
    return copy_to_devices(arrays, abstract_state), meta


def check_data(directory: Path, meta: dict[str, Any], data: dict[str, Any]) -> None:
    """Checks that a training run has saved a checkpoint, and that it was trained on the data `data`.

    Args:
      directory: the directory that contains the checkpoint, for messages.
      meta: the JSON values of the checkpoint. If "data" is missing, only a warning is logged.
      data: description of the data of this run, which must equal `meta["data"]`.

    Raises:
      UsageError: no training run has saved it, or it was trained on other data.
    """
    if not has_shape(meta, {"step": int, "evaluation": (dict, None), "data": (dict, None)}):
        raise UsageError(
            f"the newest checkpoint in {directory} was not saved by --mode=train: name another --workdir, or load its "
            "weights with --config.model.init_from"
        )
    if "data" not in meta:
        logger.warning("checkpoint %s does not record the data it was trained on", meta["step"])
    changes = difference(meta.get("data", data), data)
    if changes:
        raise UsageError(
            f"checkpoint {directory / str(meta['step'])} was trained on other data ({'; '.join(changes)}): "
            "give the config.data of that run, or start a new run in another --workdir"
        )


def _check_model(path: Path, arrays: dict[str, Any], abstract_state: Any) -> None:
    """Raises UsageError if names, shapes or dtypes of the saved arrays differ from those of `abstract_state`."""
    saved, expected = (
        {name: f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}" for name, leaf in by_path(tree).items()}
        for tree in (arrays, abstract_state)
    )
    changes = difference(saved, expected)
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise UsageError(
            f"checkpoint {path} is of another model ({'; '.join(changes[:3])}{more}): "
            "continue with the config it was trained with, or start a new run in another --workdir"
        )
