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

    key: str  # dotted
    value: Any
    source: str  # `DEFAULT`, `COMMAND_LINE` or the name of the recipe


def settings(stored: dict[str, Any], starts: Sequence[dict[str, Any]]) -> list[Setting]:
    """Returns the settings of a run, in the order of the declarations.

    A value on the command line of any start comes from there. Of the others, those that differ from the default come
    from the recipe.

    Args:
      stored: config of the run, by dotted key.
      starts: of `run.json`; their commands name the recipe and the overrides.
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
    """Returns the keys whose values differ between runs, with the value of each run."""
    keys = dict.fromkeys(key for config in configs for key in config)
    values = {key: [_plain(config.get(key)) for config in configs] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def _words(command: Any) -> list[str]:
    """Returns the words of a command line; [] if it is none, or of another program that trains in its own process."""
    return [str(word) for word in command] if isinstance(command, list) else []


def _recipe(words: Sequence[str]) -> str:
    """Returns 'recipe NAME' for the last --config=NAME of the command lines; 'recipe' if there is none."""
    names = [word.partition("=")[2] for word in words if re.match(r"--?config=", word)]
    names += [following for word, following in itertools.pairwise(words) if word in ("--config", "-config")]
    name = re.sub(r"^.*/|\.py(?=:|$)", "", names[-1]) if names else ""
    return f"recipe {name}".strip()


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it: lists in place of tuples, and nested mappings by dotted key."""
    if isinstance(value, dict):
        return flatten(value)
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
