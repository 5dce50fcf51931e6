"""How a config key is declared: with default, comment, type, bound (valid numbers) and effect (when it may change).

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
from resnet_jax.local_paths import check_local, is_bucket, is_hub_address, local_path


class Effect(enum.Enum):
    """What a config key affects. The value of a member is printed by --help_keys: it says when the key may change."""

    # WEIGHTS: the key defines the network or its input: with another value, stored weights would predict otherwise.
    WEIGHTS = "fixed once a run has checkpoints, also for --mode=eval"
    # TRAINING: the key affects the course of training, or the meaning of the metrics.
    TRAINING = "fixed once a run has checkpoints; free for --mode=eval"
    # FREE: the key affects neither weights nor training: paths, threads, intervals, the step to stop at, other modes.
    FREE = "may change when a run continues"


@dataclass(frozen=True)
class Bound:
    """The valid numbers of a config key. NaN and infinity are never valid."""

    words: str  # end of the error message "it must be ...", for example 'at least 0'
    accepts: Callable[[Any], bool]  # whether a finite number, or a sequence of them, is valid


# Largest absolute values of int and float keys: a larger one can only be a mistake. Steps are int32 on devices.
LARGEST_INT, LARGEST_FLOAT = 2**31 - 1, 1e9
_LONGEST_SHOWN = 60  # characters: an error message shows at most this many of a value


def between(low: int, high: int) -> Bound:
    """Returns the bound of the numbers from `low` to `high`, both valid."""
    return Bound(f"at least {low:,}, at most {high:,}", lambda value: low <= value <= high)


AT_LEAST_0 = Bound("at least 0", lambda value: value >= 0)
AT_LEAST_1 = Bound("at least 1", lambda value: value >= 1)
ABOVE_0 = Bound("above 0", lambda value: value > 0)
UINT32 = Bound("at least 0, below 2^32", lambda value: 0 <= value < 2**32)
FRACTION = Bound("at least 0, at most 1", lambda value: 0 <= value <= 1)
SHARE = Bound("above 0, at most 1", lambda value: 0 < value <= 1)
BETWEEN_0_AND_1 = Bound("above 0, below 1", lambda value: 0 < value < 1)
BELOW_1 = Bound("at least 0, below 1", lambda value: 0 <= value < 1)
LOSS_SCALE = Bound("above 0, at most 2^24", lambda value: 0 < value <= 2**24)
UP_TO_10 = between(0, 10)
AREA = Bound("two numbers, 0 < low <= high <= 1", lambda pair: len(pair) == 2 and 0 < pair[0] <= pair[1] <= 1)
ASPECT = Bound("two numbers, 0 < low <= high", lambda pair: len(pair) == 2 and 0 < pair[0] <= pair[1])
RGB = Bound("three numbers", lambda values: len(values) == 3)
RGB_ABOVE_0 = Bound("three numbers above 0", lambda values: len(values) == 3 and min(values) > 0)
SIDE = between(1, 16_384)  # bound of the side of an image, in pixels
SIZES = Bound(
    f"whole numbers of pixels, each {SIDE.words}",
    lambda values: all(isinstance(size, int) and SIDE.accepts(size) for size in values),
)
BATCH = between(1, 2**20)  # bound of the number of images in a batch
CLASSES = between(1, 10_000_000)
THREADS, PROCESSES = between(0, 4096), between(0, 1024)
REPETITIONS, REPETITIONS_OR_NONE = between(1, 1_000_000), between(0, 1_000_000)
PADDING = between(0, 16_384)  # bound of a padding, in pixels
CHANNELS, DEPTH = between(1, 16_384), between(1, 2000)
INCREASING = Bound(
    "increasing numbers above 0",
    lambda values: all(0 <= low < high for low, high in zip((0, *values), values, strict=False)),
)
ALL_AT_LEAST_0 = Bound("numbers of at least 0", lambda values: all(value >= 0 for value in values))


@dataclass(frozen=True)
class Key:
    """A config key.

    Args:
      name: dotted path in the config, for example 'data.batch_size'.
      default: value of the key where neither a recipe nor a flag sets it.
      comment: explanation of the key in one line, which --help_keys prints.
      bound: valid numbers; without a bound every value of the type is valid. An optional key may always be None.
      effect: what the key affects, and therefore when its value may change.
      optional: if the key may be None, the type of its other values, for example int. None: the key may not be None,
        and its values have the type of its default.
      is_path: the value is the path of a file or a directory, or a word such as 'latest' that stands for one.
      may_be_on_hub: the value may be an address of the Hugging Face Hub, hf://org/name, or the address of a run in a
        bucket, instead of a path.
    """

    name: str
    default: Any
    comment: str
    bound: Bound | None = None
    effect: Effect = Effect.TRAINING
    optional: type | None = None
    is_path: bool = False
    may_be_on_hub: bool = False

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


def check_keys(keys: Iterable[Key], values: Mapping[str, Any], *, file: str) -> None:
    """Raises UsageError if `values`, the dotted keys and values of a config file, lack a key or have an unknown one."""
    names = {key.name for key in keys}
    missing, unknown = sorted(names - values.keys()), sorted(values.keys() - names)
    if missing or unknown:
        problem = f"has no key {missing[0]!r}" if missing else f"has the key {unknown[0]!r}, which does not exist"
        raise UsageError(
            f"config file {file} {problem}: let get_config change and return default.get_config(), as the recipes do"
        )


def check_paths(keys: Iterable[Key], values: Mapping[str, Any]) -> None:
    """Raises UsageError if one of `values`, which are given by dotted key, should be a local path but is not.

    An address such as gs://bucket/run is refused in every key; keys for weights accept hf://org/name and a run in a
    bucket.
    """
    for key in keys:
        value = values[key.name]
        if key.may_be_on_hub and value is not None and (is_hub_address(value) or is_bucket(value)):
            continue
        if key.is_path and value is not None:
            local_path(value, name=f"config.{key.name}")
        elif isinstance(value, str) and "://" in value:
            check_local(value, name=f"config.{key.name}")


def check_bounds(keys: Iterable[Key], values: Mapping[str, Any]) -> None:
    """Raises UsageError if one of `values`, which are given by dotted key, is outside the bound of its key.

    None is outside the bound of a key that is not optional. No number may exceed `LARGEST_INT` or `LARGEST_FLOAT`, the
    limit of its type, in absolute value.
    """
    for key in keys:
        value = values[key.name]
        if value is None:
            check_may_be_none(key)
        if key.bound and value is not None and not _is_valid(key.bound, value):
            raise UsageError(f"config.{key.name}={_shown(value)} is out of range: it must be {key.bound.words}")
        if key.bound is not UINT32 and (largest := _exceeded_limit(value)):
            raise UsageError(f"config.{key.name}={_shown(value)} is out of range: it must be at most {largest:,.0f}")


def bound_words(key: Key) -> list[str]:
    """Returns the valid numbers of a key in words, such as ['above 0', 'at most 1,000,000,000']; [] for other types."""
    words = [key.bound.words] if key.bound else []
    largest = {int: LARGEST_INT, float: LARGEST_FLOAT}.get(key.optional or type(key.default))
    if largest and key.bound is not UINT32 and (key.bound is None or key.bound.accepts(largest)):
        words.append(f"at most {largest:,.0f}")
    return words


def _is_valid(bound: Bound, value: Any) -> bool:
    try:
        return _is_finite(value) and bound.accepts(value)
    except TypeError:  # a number where a sequence is expected, or the reverse
        return False


def _exceeded_limit(value: Any) -> float | None:
    """Returns `LARGEST_INT` or `LARGEST_FLOAT` if `value`, or a number in it, exceeds that of its type; else None."""
    if isinstance(value, tuple | list):
        return next(filter(None, map(_exceeded_limit, value)), None)
    limit = {int: LARGEST_INT, float: LARGEST_FLOAT}.get(type(value))
    return limit if limit is not None and not abs(value) <= limit else None


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print an int of more than 4,300 digits
        return "(a number of thousands of digits)"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def check_may_be_none(key: Key) -> None:
    """Raises UsageError if the key, for which None was given, is not optional."""
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
    # Every int is finite; `math.isfinite` raises OverflowError for an int that is too large for a float.
    floats = [number for number in values if not isinstance(number, int)]
    return all(isinstance(number, float) and math.isfinite(number) for number in floats)
