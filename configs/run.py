"""The config of an existing run: `python main.py --workdir=DIR` is short for --config=configs/run.py:DIR.

Keys that were added to the project after the run was started have their defaults.
"""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config(workdir: str = "") -> ConfigDict:
    path = Path(workdir, "config.json").expanduser()
    try:
        config = default.get_config()
        config.update(_with_tuples(json.loads(path.read_text())))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        why = str(error).split("\n", 1)[0]
        raise ValueError(f"{path} is not the config of a run ({why}): give the work directory of a run") from None
    return config


def _with_tuples(value: Any) -> Any:
    """Turns the lists of JSON into the tuples of a config."""
    if isinstance(value, dict):
        return {key: _with_tuples(part) for key, part in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
