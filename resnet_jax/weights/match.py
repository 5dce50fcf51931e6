"""Puts stored weights in place of the variables of a network, and reports on every name."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.weights.stored import HEAD, StoredWeights

_BIAS, _KERNEL = HEAD + "bias", HEAD + "kernel"
_SHOWN = 3  # names of each kind


@dataclasses.dataclass(frozen=True)
class MatchedVariables:
    """The variables of a network.

    Attributes:
      variables: numpy arrays where they were stored; the others as they were given.
      report: a few lines: what was loaded, skipped, missing, and changed its shape.
      table: a line for every name, in the file or here.
      unused: those of the patterns of `allow_missing` that found nothing.
    """

    variables: dict[str, Any]
    report: tuple[str, ...]
    table: tuple[str, ...]
    unused: tuple[str, ...]


def match_variables(
    stored: StoredWeights, variables: dict[str, Any], *, head: bool, allow_missing: Sequence[str]
) -> MatchedVariables:
    """Fills variables with stored ones; every name, there and here, must find its like.

    Args:
      stored: the weights.
      variables: 'params' and 'batch_stats', arrays or shapes.
      head: take the last layer too; if not, it stays as it is. r1's loses its class 0, 'background', where the network
        has one class less.
      allow_missing: regular expressions searched in our name, or in that of the file; what they find may be missing,
        left over, or of another shape.

    Raises:
      UsageError: a name has no like or another shape, and is not allowed to; or a pattern is no regular expression.
    """
    here, rows = by_path(variables), _Rows(stored, _compile(allow_missing))
    arrays = dict(stored.arrays) if head else {n: a for n, a in stored.arrays.items() if not n.startswith(HEAD)}
    if head:
        arrays |= _without_background(stored, here, rows)
    else:
        rows.add("skipped", (n for n in stored.arrays if n.startswith(HEAD)), "the last layer is to be a new one")
    _check_classes(stored, arrays, here, rows)
    wanted = {name for name in here if head or not name.startswith(HEAD)}
    rows.require("missing", wanted - arrays.keys(), "not there")
    rows.require("left over", (*(arrays.keys() - wanted), *stored.unknown), "not here")
    for name in sorted(wanted & arrays.keys()):
        if arrays[name].shape != here[name].shape:
            rows.require("reshaped", [name], f"{arrays[name].shape} there, {here[name].shape} here")
            del arrays[name]
    loaded = {name: arrays[name] for name in wanted & arrays.keys()}
    _check_finite(stored, loaded)
    rows.add("loaded", loaded)
    for name, why in stored.skipped.items():
        rows.add("skipped", [name], why)
    flat = here | loaded
    _, structure = jax.tree.flatten(variables)
    filled = jax.tree.unflatten(structure, [flat[name] for name in here])
    return MatchedVariables(filled, rows.report(len(here)), rows.table(), rows.unused())


class _Rows:
    """What became of every name."""

    def __init__(self, stored: StoredWeights, allowed: Sequence[re.Pattern[str]]):
        self._stored, self._allowed = stored, allowed
        self._used: set[re.Pattern[str]] = set()
        self._of: dict[str, dict[str, str]] = {}  # kind -> name -> remark

    def add(self, kind: str, names: Iterable[str], remark: str = "") -> None:
        self._of.setdefault(kind, {}).update(dict.fromkeys(sorted(names), remark))

    def is_allowed(self, name: str) -> bool:
        both = (name, self._stored.origin.get(name, name))
        found = {pattern for pattern in self._allowed for text in both if pattern.search(text)}
        self._used |= found
        return bool(found)

    def unused(self) -> tuple[str, ...]:
        return tuple(pattern.pattern for pattern in self._allowed if pattern not in self._used)

    def require(self, kind: str, names: Iterable[str], remark: str) -> None:
        """Adds names that must be allowed. Raises UsageError."""
        names = sorted(names)
        refused = [name for name in names if not self.is_allowed(name)]
        if refused:
            raise UsageError(
                f"{self._stored.path} is of another network: {_some(refused)}, {remark}; config.model.allow_missing "
                "names what may differ"
            )
        self.add(kind, names, f"{remark}, which is allowed")

    def report(self, count: int) -> tuple[str, ...]:
        lines = [f"{'loaded':<12} {len(self._of.get('loaded', {}))} of {count} arrays"]
        for kind in ("reshaped", "missing", "left over", "skipped"):
            by_remark: dict[str, list[str]] = {}
            for name, remark in self._of.get(kind, {}).items():
                by_remark.setdefault(remark, []).append(name)
            lines += [f"{kind:<12} {_some(names)}: {remark}" for remark, names in by_remark.items()]
        return tuple(lines)

    def table(self) -> tuple[str, ...]:
        origin = self._stored.origin
        return tuple(
            f"{kind:<10} {name:<50} {origin.get(name, '-'):<50} {remark}".rstrip()
            for kind, names in sorted(self._of.items())
            for name, remark in names.items()
        )


def _compile(patterns: Sequence[str]) -> list[re.Pattern[str]]:
    try:
        return [re.compile(pattern) for pattern in patterns]
    except (re.error, TypeError) as error:
        raise UsageError(
            f"config.model.allow_missing={tuple(patterns)} has what is no regular expression ({error})"
        ) from error


def _without_background(stored: StoredWeights, here: dict[str, Any], rows: _Rows) -> dict[str, np.ndarray]:
    """The last layer without class 0, where that makes it fit."""
    kernel, bias = stored.arrays.get(_KERNEL), stored.arrays.get(_BIAS)
    if not stored.has_background or kernel is None or bias is None or len(bias) - 1 != here[_BIAS].shape[0]:
        return {}
    rows.add("reshaped", [_BIAS, _KERNEL], f"{len(bias):,} -> {len(bias) - 1:,} classes, without 0, 'background'")
    return {_KERNEL: kernel[:, 1:], _BIAS: bias[1:]}


def _check_finite(stored: StoredWeights, loaded: dict[str, np.ndarray]) -> None:
    """Raises UsageError: compiled, a network may make ordinary numbers of what is none."""
    odd = sorted(name for name, array in loaded.items() if not np.isfinite(array).all())
    if odd:
        raise UsageError(f"{stored.path} has values that are not finite, in {_some(odd)}: take an earlier checkpoint")


def _check_classes(stored: StoredWeights, arrays: dict[str, np.ndarray], here: dict[str, Any], rows: _Rows) -> None:
    if _BIAS not in arrays or arrays[_BIAS].shape == here[_BIAS].shape or rows.is_allowed(_BIAS):
        return
    raise UsageError(
        f"{stored.path} has {len(arrays[_BIAS]):,} classes, the network {here[_BIAS].shape[0]:,}: set "
        "config.model.init_head=False to begin with a new last layer, or "
        f"config.model.num_classes={len(stored.arrays[_BIAS])}"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
