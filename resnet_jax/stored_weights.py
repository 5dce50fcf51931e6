"""The weights of a checkpoint of any run, read without the rest of its state."""

from pathlib import Path
from typing import Any

from resnet_jax import checkpoint_files
from resnet_jax.checkpoint_files import DamagedError
from resnet_jax.errors import UsageError
from resnet_jax.state import Weights

_AVERAGE, _VARIABLES = "average", ("params", "batch_stats")


def find_checkpoint(path: Path) -> Path:
    """The newest checkpoint of a work directory, or the one that is named itself, as an absolute path.

    Raises:
      UsageError: there is none.
    """
    place = path.expanduser().resolve()  # Orbax takes absolute paths alone
    steps = [int(part.name) for part in (place / "checkpoints").glob("*") if part.name.isdigit()]
    checkpoint = place / "checkpoints" / str(max(steps)) if steps else place
    if not steps and not (checkpoint / "state").is_dir():
        raise UsageError(f"{path} holds no checkpoint: name a work directory, or a directory of its checkpoints/")
    return checkpoint


def read_class_list(path: Path) -> str | None:
    """The fingerprint of the classes that a checkpoint was trained on, if it says; `path` as in `find_checkpoint`."""
    checkpoint = find_checkpoint(path)
    try:
        meta, _ = checkpoint_files.read_meta(checkpoint)
    except DamagedError as error:
        raise _damaged(checkpoint, error) from error
    return meta.get("data", {}).get("class_list")


def read_variables(path: Path, *, weights: Weights | None = None) -> dict[str, Any]:
    """Reads 'params' and 'batch_stats' of a checkpoint, and nothing else of it, as numpy arrays.

    Args:
      path: as in `find_checkpoint`.
      weights: those that were trained or their average; None: the average if there is one.

    Raises:
      UsageError: there is no checkpoint, it is damaged, or it has no average where that is asked for.
    """
    checkpoint = find_checkpoint(path)
    try:
        has_average = _AVERAGE in checkpoint_files.part_names(checkpoint)
        if weights == "ema" and not has_average:
            raise UsageError(f"checkpoint {checkpoint} cannot be read (it has no average): name another one")
        if weights == "trained" or not has_average:
            return checkpoint_files.read(checkpoint, parts=_VARIABLES)[0]
        return checkpoint_files.read(checkpoint, parts=(_AVERAGE,))[0][_AVERAGE]
    except DamagedError as error:
        raise _damaged(checkpoint, error) from error


def _damaged(checkpoint: Path, error: DamagedError) -> UsageError:
    return UsageError(f"checkpoint {checkpoint} is damaged ({error}): name another one")
