"""The weights of a checkpoint of any run of this program, read without the rest of its state."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.files import DamagedError
from resnet_jax.data.class_names import fingerprint
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path, flatten
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights.compatibility import NETWORK_KEYS
from resnet_jax.weights.stored import StoredWeights

_AVERAGE, _VARIABLES = "average", ("params", "batch_stats")


def holds_checkpoint(place: Path) -> bool:
    """Whether a directory is a checkpoint, or a work directory with one."""
    return bool(_steps(place)) or (place / "state").is_dir()


def find_checkpoint(path: Path) -> Path:
    """The newest checkpoint of a work directory, or the one that is named itself, as an absolute path.

    Raises:
      UsageError: there is none.
    """
    place = path.expanduser().resolve()  # Orbax takes absolute paths alone
    if not holds_checkpoint(place):
        raise UsageError(f"{path} holds no checkpoint: name a work directory, or a directory of its checkpoints/")
    steps = _steps(place)
    return place / "checkpoints" / str(max(steps)) if steps else place


def read(path: Path, kind: WeightsKind | None) -> StoredWeights:
    """Reads a checkpoint, and what the run around it says of it.

    Args:
      path: as in `find_checkpoint`.
      kind: 'trained', or 'ema' for their moving average; None: the average if there is one.

    Raises:
      UsageError: there is no checkpoint, it is damaged, or it has no average where that is asked for.
    """
    checkpoint = find_checkpoint(path)
    meta, variables, taken = _read(checkpoint, kind)
    arrays = {name: np.asarray(leaf) for name, leaf in by_path(variables).items()}
    workdir = checkpoint.parent.parent
    class_list = meta.get("data", {}).get("class_list")
    names = _read_json(workdir / "classes.json")
    # A work directory may have gone on with other classes than those of a checkpoint that was copied there.
    known = names and class_list in (None, fingerprint(names))
    return StoredWeights(
        path=str(checkpoint),
        format=f"checkpoint of this program, {'average' if taken == 'ema' else 'trained'} weights",
        arrays=arrays,
        origin={name: name for name in arrays},
        skipped={},
        unknown=(),
        settings=meta.get("network") or _settings_of_run(workdir),
        class_names=tuple(names) if known else None,
        class_list=class_list or (fingerprint(names) if known else None),
        step=meta.get("step"),
        kind=taken,
    )


def _steps(place: Path) -> list[int]:
    return [int(part.name) for part in (place / "checkpoints").glob("*") if part.name.isdigit()]


def _read(checkpoint: Path, kind: WeightsKind | None) -> tuple[dict[str, Any], dict[str, Any], WeightsKind]:
    """The JSON of a checkpoint, 'params' and 'batch_stats', and which these are."""
    try:
        meta, _ = files.read_meta(checkpoint)
        has_average = _AVERAGE in files.part_names(checkpoint)
        if kind == "ema" and not has_average:
            raise UsageError(f"checkpoint {checkpoint} cannot be read (it has no average): name another one")
        if kind == "trained" or not has_average:
            return meta, files.read(checkpoint, parts=_VARIABLES)[0], "trained"
        return meta, files.read(checkpoint, parts=(_AVERAGE,))[0][_AVERAGE], "ema"
    except DamagedError as error:
        raise UsageError(f"checkpoint {checkpoint} is damaged ({error}): name another one") from error


def _settings_of_run(workdir: Path) -> dict[str, Any]:
    """Of a checkpoint from before they stood in it: those of its work directory, if it lies in one."""
    settings = flatten(_read_json(workdir / "config.json") or {})
    return {key: settings[key] for key in NETWORK_KEYS if key in settings}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}): name the checkpoint alone, copied elsewhere") from None
