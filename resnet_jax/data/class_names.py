"""Compares ordered lists of class names: of a data set, a run or a model. Name k belongs to network output k."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence

from resnet_jax.errors import UsageError


def fingerprint(class_names: Sequence[str]) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of the ordered class names; another order gives other digits."""
    return hashlib.sha256(json.dumps(list(class_names)).encode()).hexdigest()[:16]


def alike(class_names: Iterable[str]) -> list[tuple[str, str]]:
    """Returns pairs of names that differ only in blanks, invisible characters or the form of Unicode characters.

    macOS may store the letter é as two characters (form NFD), and other systems store it as one (NFC).
    """
    first: dict[str, str] = {}
    return [(first[look], name) for name in class_names if (first.setdefault(look := _look(name), name)) != name]


def _look(name: str) -> str:
    """Returns a name in Unicode form NFKC without its blanks and invisible characters."""
    visible = (c for c in unicodedata.normalize("NFKC", name) if not c.isspace())
    return "".join(c for c in visible if unicodedata.category(c) not in ("Cc", "Cf"))


def check_same(expected: Sequence[str], actual: Sequence[str], *, owner: str, what: str = "the data") -> None:
    """Checks that two lists of class names are equal.

    Args:
      expected: the class names of `owner`.
      actual: the class names of `what`.
      owner: what the error message calls the run, the weights or the data set with the class names `expected`.
      what: what the error message calls the data set or file with the class names `actual`.

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
