"""The list of classes a model was trained for: class k of its output is the k-th name."""

import hashlib
import json
from collections.abc import Sequence

from resnet_jax.errors import UsageError


def fingerprint(class_names: Sequence[str]) -> str:
    """16 hexadecimal digits of the SHA-256 of the list: equal for equal names in equal order."""
    return hashlib.sha256(json.dumps(list(class_names)).encode()).hexdigest()[:16]


def check_same(there: Sequence[str], here: Sequence[str], *, owner: str, what: str = "the data") -> None:
    """Raises UsageError unless the list of `what`, `here`, is the one that `owner` was made with."""
    if list(there) == list(here):
        return
    pairs = enumerate(zip(there, here, strict=False))
    odd = next((f"class {k} is {old!r} there and {new!r} here" for k, (old, new) in pairs if old != new), None)
    why = odd or f"{len(there)} classes there, {len(here)} here"
    raise UsageError(f"{owner} has another list of classes than {what} ({why}): its outputs would mean other things")
