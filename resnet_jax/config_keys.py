"""How a config key is declared: with default, comment, type, bound (valid numbers) and effect (who may change it).

`configs/default.py` declares every key.
"""

import enum
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference

from resnet_jax.errors import UsageError


class Effect(enum.Enum):
    """What a config key affects. The text of a member says when a run with checkpoints may change the key."""

    # WEIGHTS: the key defines the network or its input, so stored weights would mean something else with another value.
    WEIGHTS = "fixed once a run has checkpoints, also for --mode=eval"
    # TRAINING: the key affects the course of training, or the meaning of the metrics.
    TRAINING = "fixed once a run has checkpoints; free for --mode=eval"
    # FREE: the key affects neither: paths, threads, intervals, the step to stop at, options of other modes.
    FREE = "may change when a run continues"


@dataclass(frozen=True)
class Bound:
    """The valid numbers of a config key. NaN and infinity are never valid."""

    words: str  # end of the error message "it must be ...", for example 'at least 0'
    accepts: Callable[[Any], bool]  # whether a finite number, or a sequence of them, is valid


AT_LEAST_0 = Bound("at least 0", lambda value: value >= 0)
AT_LEAST_1 = Bound("at least 1", lambda value: value >= 1)
ABOVE_0 = Bound("above 0", lambda value: value > 0)
UINT32 = Bound("at least 0, below 2^32", lambda value: 0 <= value < 2**32)
FRACTION = Bound("at least 0, at most 1", lambda value: 0 <= value <= 1)
SHARE = Bound("above 0, at most 1", lambda value: 0 < value <= 1)
BETWEEN_0_AND_1 = Bound("above 0, below 1", lambda value: 0 < value < 1)
BELOW_1 = Bound("at least 0, below 1", lambda value: 0 <= value < 1)
LOSS_SCALE = Bound("above 0, at most 2^24", lambda value: 0 < value <= 2**24)
UP_TO_10 = Bound("at least 0, at most 10", lambda value: 0 <= value <= 10)
AREA = Bound("two numbers, 0 < low <= high <= 1", lambda pair: len(pair) == 2 and 0 < pair[0] <= pair[1] <= 1)
ASPECT = Bound("two numbers, 0 < low <= high", lambda pair: len(pair) == 2 and 0 < pair[0] <= pair[1])
RGB = Bound("three numbers", lambda values: len(values) == 3)
RGB_ABOVE_0 = Bound("three numbers above 0", lambda values: len(values) == 3 and min(values) > 0)
SIZES = Bound(
    "whole numbers of at least 1 pixel", lambda values: all(isinstance(size, int) and size >= 1 for size in values)
)
INCREASING = Bound(
    "increasing numbers above 0",
    lambda values: all(0 <= low < high for low, high in zip((0, *values), values, strict=False)),
)
ALL_AT_LEAST_0 = Bound("numbers of at least 0", lambda values: all(value >= 0 for value in values))


@dataclass(frozen=True)
class Key:
    """A config key.

    Args:
      name: dotted, for example 'data.batch_size'.
      default: value of the key where neither a recipe nor a flag sets it.
      comment: explanation of the key in one line, which --help_keys prints.
      bound: valid numbers; without a bound every value of the type is valid. An optional key may always be None.
      effect: what the key affects, and so who may change it.
      optional: type of a key that may be None, for example int; its default may be a value of this type too. None: the
        key always has a value, of the type of its default.
    """

    name: str
    default: Any
    comment: str
    bound: Bound | None = None
    effect: Effect = Effect.TRAINING
    optional: type | None = None

    @property
    def type_name(self) -> str:
        """The type as `--help_keys` prints it, for example 'int or None'."""
        return f"{self.optional.__name__} or None" if self.optional else type(self.default).__name__


def build_config(keys: Iterable[Key]) -> ConfigDict:
    """Returns a config with the default of each key, in nested sections; it is locked, so that no key can be added."""
    root = ConfigDict()
    for key in keys:
        section = root
        *path, name = key.name.split(".")
        for part in path:
            if part not in section:
                section[part] = ConfigDict()
            section = section[part]
        section[name] = FieldReference(key.default, field_type=key.optional) if key.optional else key.default
    return root.lock()


def check_bounds(keys: Iterable[Key], values: Mapping[str, Any]) -> None:
    """Raises UsageError if one of `values`, which are given by dotted key, is outside the bound of its key.

    None is outside the bound of a key that is not optional.
    """
    for key in keys:
        value = values[key.name]
        if value is None:
            check_may_be_none(key)
        if key.bound and value is not None and not (_is_finite(value) and key.bound.accepts(value)):
            raise UsageError(f"config.{key.name}={value!r} is out of range: it must be {key.bound.words}")


def check_may_be_none(key: Key) -> None:
    """Raises UsageError if the key is not optional."""
    if not key.optional:
        raise UsageError(f"config.{key.name}=None: this key needs a value; its default is {key.default!r}")


def changeable_when_continued(keys: Iterable[Key]) -> tuple[str, ...]:
    """Returns the dotted keys, and whole sections, that may change when a run continues."""
    return _whole_sections(keys, {Effect.FREE})


def changeable_when_evaluated(keys: Iterable[Key]) -> tuple[str, ...]:
    """Returns the dotted keys, and whole sections, that may differ between --mode=eval and the evaluated run."""
    return _whole_sections(keys, {Effect.FREE, Effect.TRAINING})


def _whole_sections(keys: Iterable[Key], effects: set[Effect]) -> tuple[str, ...]:
    """Returns the dotted keys that have one of `effects`.

    If all keys of a top-level section have one of them, the name of the section is returned in their place. That name
    also covers keys that the config in a work directory has and that this version no longer declares.
    """
    keys = tuple(keys)
    mixed = {_section(key) for key in keys if key.effect not in effects}
    allowed = (key for key in keys if key.effect in effects)
    return tuple(dict.fromkeys(key.name if _section(key) in mixed else _section(key) for key in allowed))


def _section(key: Key) -> str:
    return key.name.split(".")[0]


def _is_finite(value: Any) -> bool:
    """Whether `value` is a finite number, or a list or tuple of finite numbers."""
    values = value if isinstance(value, tuple | list) else [value]
    return all(isinstance(number, int | float) and math.isfinite(number) for number in values)
