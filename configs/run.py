"""The config of a run that is there: python main.py --workdir=DIR is short for --config=configs/run.py:DIR.

Keys that were not there when the run was started have their defaults.
"""

import json
from pathlib import Path
from typing import Any

from resnet_jax.configs import default


def get_config(workdir: str = ""):
    path = Path(workdir, "config.json").expanduser()
    try:
        config = default.get_config()
        config.update(_as_in_configs(json.loads(path.read_text())))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        why = str(error).split("\n", 1)[0]
        raise ValueError(f"{path} is no config of a run ({why}): name the work directory of one") from None
    return config


def _as_in_configs(value: Any) -> Any:
    """JSON has lists where configs have tuples."""
    if isinstance(value, dict):
        return {key: _as_in_configs(part) for key, part in value.items()}
    return tuple(map(_as_in_configs, value)) if isinstance(value, list) else value
