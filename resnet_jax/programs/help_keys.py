"""`--help_keys [PATTERN]`: prints the config keys from their declarations in `configs/default.py`."""

import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_jax.config_keys import Key, bound_words
from resnet_jax.configs.default import KEYS
from resnet_jax.errors import UsageError

FLAG = "help_keys"


def keys_pattern(argv: Sequence[str]) -> str | None:
    """Returns PATTERN of the last `--help_keys`, `--help_keys=PATTERN` or `--help_keys PATTERN`; None without the flag.

    The flag without a PATTERN gives the empty string, which matches every key.
    """
    found = None
    for word, following in itertools.zip_longest(argv, argv[1:], fillvalue=""):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name == FLAG:
            found = value if equals or following.startswith("-") else following
    return found


def help_keys(pattern: str = "", *, values: Mapping[str, Any] | None = None, name: str = "") -> str:
    """Returns a text that describes each config key whose name matches the regular expression `pattern` somewhere.

    The description of a key is its name, default, type, valid range, whether it may change when a run continues, and
    its comment. Where `values` has another value than the default, that value comes first.

    Args:
      pattern: regular expression, or the beginning of a flag such as '--config.log'; '' matches every key.
      values: the config that the user has named, dotted key -> value; None: the defaults.
      name: the name of that config.

    Raises:
      UsageError: the pattern is not a regular expression, or no name matches it.
    """
    pattern = pattern.removeprefix("--").removeprefix("config.")
    try:
        found = [key for key in KEYS if re.search(pattern, key.name)]
    except re.error as error:
        raise UsageError(
            f"--{FLAG}={pattern} is not a regular expression ({error}): try a part of a key's name, such as batch_size"
        ) from None
    if not found:
        sections = ", ".join(dict.fromkeys(key.name.partition(".")[0] for key in KEYS))
        raise UsageError(f"--{FLAG}={pattern} matches no config key: try one of the sections {sections}")
    return "\n".join(_describe(key, (values or {}).get(key.name, key.default), name) for key in found)


def _describe(key: Key, value: Any, name: str) -> str:
    lines = [] if value == key.default else [f"the value in {name}; the default is {key.default!r}"]
    lines += [f"{', '.join([key.type_name, *bound_words(key)])}; {key.effect.value}"]
    lines += textwrap.wrap(key.comment, 100)
    return "\n".join([f"--config.{key.name}={value!r}", *(f"    {line}" for line in lines)])
