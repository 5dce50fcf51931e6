"""The config of a run with the source of each value: default, recipe or command line."""

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from resnet_jax.configs.default import KEYS
from resnet_jax.nested import flatten

DEFAULT, COMMAND_LINE = "default", "command line"


class Setting(NamedTuple):
    """A config key of a run."""

    key: str  # dotted config key
    value: Any
    source: str  # `DEFAULT`, `COMMAND_LINE` or 'recipe NAME'


def settings(stored: dict[str, Any], starts: Sequence[dict[str, Any]]) -> list[Setting]:
    """Returns the settings of a run, in the order in which the keys are declared, with the source of each value.

    The source of a key that was on the command line of any start is the command line. Of the other keys, those whose
    values differ from the default come from the recipe.

    Args:
      stored: config of the run, dotted key -> value.
      starts: the records of all starts of the run in `run.json`, which contain the command lines.
    """
    words = [word for start in starts for word in _words(start.get("command"))]
    overridden = {match[1] for word in words if (match := re.match(r"--?config\.([\w.]+)", word))}
    recipe = _recipe(words)
    defaults = {key.name: _plain(key.default) for key in KEYS}
    found = []
    for key in [*(name for name in defaults if name in stored), *(name for name in stored if name not in defaults)]:
        value = _plain(stored[key])
        differs = key not in defaults or value != defaults[key]
        found.append(Setting(key, value, COMMAND_LINE if key in overridden else recipe if differs else DEFAULT))
    return found


def differences(configs: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Returns the config keys whose values differ between runs: key -> the value of each run."""
    keys = dict.fromkeys(key for config in configs for key in config)
    values = {key: [_plain(config.get(key)) for config in configs] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def _words(command: Any) -> list[str]:
    """Returns the arguments of a recorded command line; [] if `command` is not a list."""
    return [str(word) for word in command] if isinstance(command, list) else []


def _recipe(words: Sequence[str]) -> str:
    """Returns 'recipe NAME', from the last --config=NAME among the arguments; 'recipe' without --config."""
    names = [word.partition("=")[2] for word in words if re.match(r"--?config=", word)]
    names += [following for word, following in itertools.pairwise(words) if word in ("--config", "-config")]
    name = re.sub(r"^.*/|\.py(?=:|$)", "", names[-1]) if names else ""
    return f"recipe {name}".strip()


def _plain(value: Any) -> Any:
    """Returns a value as it is after a round trip through JSON: tuples become lists. Nested dicts are flattened."""
    if isinstance(value, dict):
        return flatten(value)
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
