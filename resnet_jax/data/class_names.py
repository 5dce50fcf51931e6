"""Compares ordered lists of class names: of a data set, a run or a model. Name k belongs to network output k."""

import hashlib
import json
from collections.abc import Sequence

from resnet_jax.errors import UsageError


def fingerprint(class_names: Sequence[str]) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of the ordered class names; another order gives other digits."""
    return hashlib.sha256(json.dumps(list(class_names)).encode()).hexdigest()[:16]


def check_same(expected: Sequence[str], actual: Sequence[str], *, owner: str, what: str = "the data") -> None:
    """Checks that two lists of class names are equal.

    Args:
      expected: class names that `owner` was made with.
      actual: class names of `what`.
      owner: the run, the weights or the data set that `expected` belongs to, for the message.
      what: the thing that `actual` belongs to, for the message.

    Raises:
      UsageError: the lists differ; the message names the first difference.
    """
    if list(expected) == list(actual):
        return
    pairs = enumerate(zip(expected, actual, strict=False))
    difference = next((f"class {k} is {old!r}, not {new!r}" for k, (old, new) in pairs if old != new), None)
    reason = difference or f"{len(expected)} classes, not {len(actual)}"
    raise UsageError(
        f"{owner} has another list of classes than {what} ({reason}), so outputs and labels would not match: "
        "use the same classes in the same order"
    )
