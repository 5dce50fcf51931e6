"""Reads parts of a checkpoint of this program: the weights of the network, or the state of the optimizer."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.files import DamagedError
from resnet_jax.data.class_names import fingerprint
from resnet_jax.errors import UsageError
from resnet_jax.files import numbered, read_json
from resnet_jax.nested import by_path
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights.stored import StoredWeights

_CURE = "restore it from a copy, or name a copy of the checkpoint outside of its work directory"
# Top-level fields of the saved `TrainState`.
_AVERAGE, _OPTIMIZER_STATE, _VARIABLES = "average", "opt_state", ("params", "batch_stats")


def holds_checkpoint(path: Path) -> bool:
    """Returns whether a directory is a checkpoint, or a work directory that has a checkpoint."""
    return bool(_steps(path)) or (path / "state").is_dir()


def read(path: Path, kind: WeightsKind | None) -> StoredWeights:
    """Reads the weights of a checkpoint, and the class names from the work directory that contains it.

    Args:
      path: absolute path of a checkpoint, or of a work directory, whose newest checkpoint is read.
      kind: 'trained', or 'ema': the moving average of the trained weights; None: the average if there is one.

    Raises:
      UsageError: the checkpoint is damaged, or `kind` is 'ema' and the checkpoint has no moving average.
    """
    checkpoint = _checkpoint(path)
    meta, variables, found_kind = _read(checkpoint, kind)
    arrays = {name: np.asarray(leaf) for name, leaf in by_path(variables).items()}
    class_list = meta.get("data", {}).get("class_list")  # absent if user code called `Checkpoints.save` without it
    names = _read_class_names(checkpoint.parent.parent)
    # Class names that do not match the class list are ignored: they are those of another run, if the checkpoint was
    # copied into the work directory of that run.
    if names is not None and class_list not in (None, fingerprint(names)):
        names = None
    return StoredWeights(
        path=str(checkpoint),
        format=f"checkpoint of this program, {'average' if found_kind == 'ema' else 'trained'} weights",
        arrays=arrays,
        origin={name: name for name in arrays},
        skipped={},
        unknown=(),
        settings=meta.get("network", {}),
        class_names=None if names is None else tuple(names),
        class_list=class_list or (None if names is None else fingerprint(names)),
        step=meta.get("step"),
        kind=found_kind,
    )


def has_average(path: Path) -> bool:
    """Returns whether a checkpoint, or the newest one of a work directory, has a moving average.

    Raises:
      UsageError: the checkpoint is damaged.
    """
    checkpoint = _checkpoint(path)
    with _damage_as_usage_error(checkpoint):
        return _AVERAGE in files.field_names(checkpoint)


def read_optimizer_state(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    """Reads the optimizer state of a checkpoint, or of the newest one of a work directory.

    Args:
      path: see `read`.

    Returns:
      The arrays by path, for example '1/trace/head/kernel' for the velocity of SGD, and the name of the optimizer in
      the config of the run; None if the checkpoint is not in the work directory of a run.

    Raises:
      UsageError: the checkpoint is damaged.
    """
    checkpoint = _checkpoint(path)
    with _damage_as_usage_error(checkpoint):
        tree = files.read(checkpoint, fields=(_OPTIMIZER_STATE,))[_OPTIMIZER_STATE]
    config = checkpoint.parent.parent / "config.json"
    settings = read_json(config, cure=_CURE, shape={"optimizer": ({"name": str}, None)}) if config.exists() else {}
    return {name: np.asarray(leaf) for name, leaf in by_path(tree).items()}, (settings.get("optimizer") or {}).get(
        "name"
    )


def _checkpoint(path: Path) -> Path:
    """Returns the newest checkpoint of a work directory; any other path is a checkpoint itself."""
    steps = _steps(path)
    return path / "checkpoints" / str(max(steps)) if steps else path


def _steps(path: Path) -> list[int]:
    """Returns the steps of the checkpoints in a work directory."""
    return numbered(path / "checkpoints")


def _read(checkpoint: Path, kind: WeightsKind | None) -> tuple[dict[str, Any], dict[str, Any], WeightsKind]:
    """Returns the JSON of a checkpoint, 'params' and 'batch_stats', and whether these are trained or averaged."""
    with _damage_as_usage_error(checkpoint):
        meta, _ = files.read_meta(checkpoint)
        averaged = _AVERAGE in files.field_names(checkpoint)
        if kind == "ema" and not averaged:
            raise UsageError(f"checkpoint {checkpoint} has no moving average: set config.eval.weights='trained'")
        if kind == "trained" or not averaged:
            return meta, files.read(checkpoint, fields=_VARIABLES), "trained"
        return meta, files.read(checkpoint, fields=(_AVERAGE,))[_AVERAGE], "ema"


@contextlib.contextmanager
def _damage_as_usage_error(checkpoint: Path) -> Iterator[None]:
    try:
        yield
    except DamagedError as error:
        raise UsageError(f"checkpoint {checkpoint} is damaged ({error}): name another checkpoint") from error


def _read_class_names(workdir: Path) -> list[str] | None:
    path = workdir / "classes.json"
    names: list[str] | None = read_json(path, cure=_CURE, shape=[str]) if path.exists() else None
    return names
