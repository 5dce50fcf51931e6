"""`--config.KEY=None` on the command line, which sets an optional config key to None.

ml_collections would parse None as a value of the key's type: as the text 'None', or as an invalid number.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from resnet_jax.config_keys import check_may_be_none
from resnet_jax.configs.default import KEYS

_DECLARED = {key.name: key for key in KEYS}


class Unset(NamedTuple):
    """A command line whose flags `--config.KEY=None` are removed, and the keys that these flags set to None."""

    argv: list[str]
    keys: tuple[str, ...]  # dotted, for example 'train.max_steps'


def split_unset(argv: Sequence[str]) -> Unset:
    """Removes `--config.KEY=None` and `--config.KEY None` from a command line; the last flag of a key counts.

    Raises:
      UsageError: a key is not optional.
    """
    words: list[str] = []
    unset: dict[str, bool] = {}
    position = 0
    while position < len(argv):
        word, following = argv[position], argv[position + 1 : position + 2]
        name, equals, value = word.partition("=")
        key = re.sub(r"^--?config\.", "", name)
        width = 1 if equals or following != ["None"] else 2
        is_none = name != key and key in _DECLARED and (value == "None" if equals else width == 2)
        if is_none:
            check_may_be_none(_DECLARED[key])
        if name != key:
            unset[key] = is_none
        words += [] if is_none else argv[position : position + width]
        position += width
    return Unset(words, tuple(key for key, is_none in unset.items() if is_none))
