"""Matches stored arrays with the variables of a network by name and shape, and reports on every name."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.text import labelled, some_of
from resnet_jax.weights.stored import HEAD, StoredWeights

_BIAS, _KERNEL = HEAD + "bias", HEAD + "kernel"
_PROJECTION = re.compile(r"(?:^|\.)fc\.\d+\.")  # names of a head of several layers, as in MoCo v2 (Chen et al. 2020)


@dataclasses.dataclass(frozen=True)
class MatchedVariables:
    """The variables of a network after loading.

    Attributes:
      variables: 'params' and 'batch_stats': numpy arrays where loaded, otherwise the leaves given to `match_variables`.
      report: lines that count what was loaded, reshaped, missing, left over and skipped.
      table: one line for every name in the file or the network.
      unused_patterns: patterns of `allow_missing` that were not needed: no array that differs matches them.
    """

    variables: dict[str, Any]
    report: tuple[str, ...]
    table: tuple[str, ...]
    unused_patterns: tuple[str, ...]


def match_variables(
    stored: StoredWeights, variables: dict[str, Any], *, head: bool, allow_missing: Sequence[str]
) -> MatchedVariables:
    """Replaces variables by the stored arrays of the same name; every name must be in both of them.

    Args:
      stored: the weights.
      variables: 'params' and 'batch_stats', arrays or shapes.
      head: load the last layer too; False keeps that of `variables`. Weights of the r1.x ResNet of the TensorFlow
        Models repository lose their class 0, 'background', if the network has one class less.
      allow_missing: regular expressions searched for in an array's name in this package and in the file; arrays that
        match may be missing, left over or of another shape.

    Raises:
      UsageError: a name is missing, left over or of another shape and no pattern allows it; a value is not finite; or a
        pattern is not a regular expression.
    """
    given, report = by_path(variables), _NameReport(stored, _compile(allow_missing))
    arrays = dict(stored.arrays) if head else {n: a for n, a in stored.arrays.items() if not n.startswith(HEAD)}
    unknown = list(stored.unknown)
    if head:
        arrays |= _without_background(stored, given, report)
    else:
        projection = {name for name in stored.unknown if _PROJECTION.search(name)}
        head_names = (*(name for name in stored.arrays if name.startswith(HEAD)), *projection)
        report.add("skipped", head_names, "the last layer is a new one")
        unknown = [name for name in unknown if name not in projection]
    _check_num_classes(stored, arrays, given, report)
    needed = {name for name in given if head or not name.startswith(HEAD)}
    report.require("missing", needed - arrays.keys(), "not in the file")
    report.require("left over", (*(arrays.keys() - needed), *unknown), "not in the network")
    for name in sorted(needed & arrays.keys()):
        if arrays[name].shape != given[name].shape:
            shapes = f"{arrays[name].shape} in the file, {given[name].shape} in the network"
            report.require("reshaped", [name], shapes)
            del arrays[name]
    loaded = {name: arrays[name] for name in needed & arrays.keys()}
    _check_finite(stored, loaded)
    report.add("loaded", loaded)
    for name, reason in stored.skipped.items():
        report.add("skipped", [name], reason)
    flat = given | loaded
    _, structure = jax.tree.flatten(variables)
    matched = jax.tree.unflatten(structure, [flat[name] for name in given])
    return MatchedVariables(matched, report.lines(len(given)), report.table(), report.unused_patterns())


class _NameReport:
    """What happened to every array of the file and the network: loaded, reshaped, missing, left over or skipped."""

    def __init__(self, stored: StoredWeights, allowed: Sequence[re.Pattern[str]]):
        self._stored, self._allowed = stored, allowed
        self._used: set[re.Pattern[str]] = set()
        self._reasons: dict[str, dict[str, str]] = {}  # outcome, such as 'loaded' -> name of an array -> reason

    def add(self, outcome: str, names: Iterable[str], reason: str = "") -> None:
        self._reasons.setdefault(outcome, {}).update(dict.fromkeys(sorted(names), reason))

    def is_allowed(self, name: str) -> bool:
        both = (name, self._stored.origin.get(name, name))
        found = {pattern for pattern in self._allowed for text in both if pattern.search(text)}
        self._used |= found
        return bool(found)

    def unused_patterns(self) -> tuple[str, ...]:
        return tuple(pattern.pattern for pattern in self._allowed if pattern not in self._used)

    def require(self, outcome: str, names: Iterable[str], reason: str) -> None:
        """Adds names, with their outcome, such as 'missing', and its reason, if `allow_missing` allows all of them.

        Raises:
          UsageError: one of the names matches no pattern of `allow_missing`.
        """
        names = sorted(names)
        refused = [name for name in names if not self.is_allowed(name)]
        if refused:
            raise UsageError(
                f"{self._stored.path} is of another network: {some_of(refused)}, {reason}; list in "
                "config.model.allow_missing the names that may differ"
            )
        self.add(outcome, names, f"{reason}, which is allowed")

    def lines(self, count: int) -> tuple[str, ...]:
        lines = [labelled("loaded", f"{len(self._reasons.get('loaded', {}))} of {count} arrays")]
        for outcome in ("reshaped", "missing", "left over", "skipped"):
            by_reason: dict[str, list[str]] = {}
            for name, reason in self._reasons.get(outcome, {}).items():
                by_reason.setdefault(reason, []).append(name)
            lines += [labelled(outcome, f"{some_of(names)}: {reason}") for reason, names in by_reason.items()]
        return tuple(lines)

    def table(self) -> tuple[str, ...]:
        origin = self._stored.origin
        return tuple(
            f"{outcome:<10} {name:<50} {origin.get(name, '-'):<50} {reason}".rstrip()
            for outcome, names in sorted(self._reasons.items())
            for name, reason in names.items()
        )


def _compile(patterns: Sequence[str]) -> list[re.Pattern[str]]:
    try:
        return [re.compile(pattern) for pattern in patterns]
    except (re.error, TypeError) as error:
        raise UsageError(
            f"config.model.allow_missing={tuple(patterns)} has an entry that is not a regular expression ({error}): "
            "correct it"
        ) from error


def _without_background(stored: StoredWeights, given: dict[str, Any], report: _NameReport) -> dict[str, np.ndarray]:
    """Returns the arrays of the last layer without class 0, 'background', if they then fit the network; else {}."""
    kernel, bias = stored.arrays.get(_KERNEL), stored.arrays.get(_BIAS)
    if not stored.has_background or kernel is None or bias is None or len(bias) - 1 != given[_BIAS].shape[0]:
        return {}
    reason = f"{len(bias):,} -> {len(bias) - 1:,} classes, without class 0, 'background'"
    report.add("reshaped", [_BIAS, _KERNEL], reason)
    return {_KERNEL: kernel[:, 1:], _BIAS: bias[1:]}


def _check_finite(stored: StoredWeights, loaded: dict[str, np.ndarray]) -> None:
    """Raises UsageError if a loaded value is NaN or infinite: compiled code may turn it into an ordinary number."""
    bad = sorted(name for name, array in loaded.items() if not np.isfinite(array).all())
    if bad:
        raise UsageError(f"{stored.path} has values that are not finite, in {some_of(bad)}: take an earlier checkpoint")


def _check_num_classes(
    stored: StoredWeights, arrays: dict[str, np.ndarray], given: dict[str, Any], report: _NameReport
) -> None:
    if _BIAS not in arrays or arrays[_BIAS].shape == given[_BIAS].shape or report.is_allowed(_BIAS):
        return
    raise UsageError(
        f"{stored.path} has {len(arrays[_BIAS]):,} classes, the network {given[_BIAS].shape[0]:,}: set "
        "config.model.init_head=False to start with a new last layer, or "
        f"config.model.num_classes={len(stored.arrays[_BIAS])}"
    )
