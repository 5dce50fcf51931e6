"""The config of an existing run: --config=runs/first is short for --config=configs/run.py:runs/first.

`python main.py --workdir=runs/first` continues that run with its own config. With another --workdir, and
--config=runs/first, a new run begins with the same config: add the keys that differ (docs/workdir.md).
Keys that were added to the project after the run was started have their defaults.
"""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.configs import default
from resnet_jax.local_paths import is_bucket
from resnet_jax.old_settings import translated
from resnet_jax.storage.mirror import restored

_MOST_BYTES = 2**24  # many times the size of any config.json


def get_config(run: str = "") -> ConfigDict:
    """Returns the config of a run, by its work directory or by the path of its config.json."""
    path = restored(run.removesuffix("/config.json")) if is_bucket(run) else Path(run).expanduser()
    path = path if path.suffix == ".json" else path / "config.json"
    try:
        config = default.get_config()
        config.update(_with_tuples(translated(_read(path))))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give the work directory of a run, or the config.json in it") from None
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        why = str(error.args[-1] if error.args else error).split("\n", 1)[0].split(". Other fields present", 1)[0]
        cure = "give the work directory of a run, restore the file from a copy, or move it away and name a recipe"
        raise ValueError(f"{path} is not the config of a run ({why}): {cure} with --config") from None
    return config


def _read(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise ValueError("it is not a file")
    if path.exists() and path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it has {path.stat().st_size:,} bytes")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise TypeError("it is not a JSON object")
    return content


def _with_tuples(value: Any) -> Any:
    """Turns the lists of JSON into the tuples of a config."""
    if isinstance(value, dict):
        return {key: _with_tuples(part) for key, part in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
