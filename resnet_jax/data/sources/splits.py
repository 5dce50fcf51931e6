"""Splits of a data set by name, whole or in part, in the syntax of TFDS: 'train', 'train[:90%]', 'train[:500]+test'."""

import re
from typing import NamedTuple

from resnet_jax.errors import UsageError

_MOST_PARTS = 100  # largest number of parts joined by '+'; TFDS parses them with a recursion level for each
_NUMBER = r"-?\d[\d_]*(?:\.\d+)?"
_PART = re.compile(rf"([^\[\]]*[^\[\]\s])(?:\[({_NUMBER})?(%)?:({_NUMBER})?(%)?\])?")


class Part(NamedTuple):
    """A split, or the slice of it from `start` to `stop`. Negative numbers count from the end, as in Python."""

    name: str
    start: float | None = None  # None: from the first example
    stop: float | None = None  # None: to the last example
    is_percent: bool = False  # whether `start` and `stop` are percentages of the split, or else numbers of examples

    @property
    def is_whole(self) -> bool:
        """Whether this is a split without a slice."""
        return self.start is None and self.stop is None


class Split(NamedTuple):
    """The value of a config key that names a split; its examples are those of its parts, one part after the other."""

    key: str  # 'train_split' or 'eval_split', for messages
    text: str  # the value, for example 'train[:90%]'
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return f"config.data.{self.key}={self.text!r}"

    def rows(self, part: Part, total: int) -> range:
        """Returns which of the `total` examples of a split belong to a part. Percentages round to the nearest example.

        Raises:
          UsageError: the slice is outside the split, or selects nothing.
        """
        bounds = [0 if part.start is None else part.start, (100 if part.is_percent else total)]
        bounds[1] = bounds[1] if part.stop is None else part.stop
        start, stop = (round(bound * total / 100) if part.is_percent else int(bound) for bound in bounds)
        if max(abs(start), abs(stop)) > total:
            raise UsageError(f"{self} is outside of {part.name!r}, which has {total:,} images: take a smaller slice")
        rows = range(total)[slice(start if start >= 0 else total + start, stop if stop >= 0 else total + stop)]
        if not rows:
            raise UsageError(f"{self} selects none of the {total:,} images of {part.name!r}: take a larger slice")
        return rows


def check_length(key: str, text: str) -> None:
    """Raises UsageError if the value of a config key that names a split has too many parts."""
    number = text.count("+") + 1
    if number > _MOST_PARTS:
        raise UsageError(
            f"config.data.{key}={text[:40]!r}... has {number:,} parts, more than {_MOST_PARTS}: name larger slices"
        )


def parse_split(key: str, text: str) -> Split:
    """Parses the value of a config key that names a split.

    Args:
      key: 'train_split' or 'eval_split', for messages.
      text: names of splits, each perhaps with a slice in examples or in percent, joined by '+'.

    Raises:
      UsageError: the text has another form.
    """
    check_length(key, text)
    parts = []
    for piece in text.split("+"):
        match = _PART.fullmatch(piece.strip())
        if not match or ("[" in piece and match[2] is None and match[4] is None):
            raise _malformed(key, text)
        is_percent = bool(match[3] or match[5])
        numbers = [None if digits is None else float(digits) for digits in match.group(2, 4)]
        for number in numbers:
            if number is not None and (abs(number) > 100 if is_percent else not number.is_integer()):
                raise _malformed(key, text)
        parts.append(Part(match[1], numbers[0], numbers[1], is_percent))
    return Split(key, text, tuple(parts))


def _malformed(key: str, text: str) -> UsageError:
    return UsageError(
        f"config.data.{key}={text!r} is not a split: write it as train, train[:90%], train[100:200] or train[:50%]+test"
    )
