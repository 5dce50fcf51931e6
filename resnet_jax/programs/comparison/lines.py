"""The log lines of a comparison: a table, the classes that differ, and one sentence for each pair of groups."""

from collections.abc import Sequence

from resnet_jax.programs.comparison.compare import ClassDifference, Comparison, Difference, Group
from resnet_jax.text import labelled, labelled_lines, printable

_LISTED = 10  # maximum number of classes that are listed


def comparison_lines(comparison: Comparison) -> list[str]:
    """Returns the log lines that describe a comparison."""
    return [
        *labelled_lines("accuracy", map(_accuracy, comparison.groups)),
        *([labelled("all", _omnibus(comparison))] if comparison.omnibus else []),
        *labelled_lines("only right", [_only_right(one) for one in comparison.differences]),
        *labelled_lines("classes", _classes(comparison)),
        *labelled_lines("result", [sentence(comparison, one) for one in comparison.differences]),
    ]


def sentence(comparison: Comparison, one: Difference) -> str:
    """Returns the result for two groups as a sentence, with the difference in percentage points and 95 % interval."""
    value, low, high, _ = one.estimate
    count = f"n = {comparison.images:,}"
    if comparison.seeds > 1:
        count = f"{comparison.seeds} seeds, {count} images"
    if one.told_apart:
        (better, worse), sign = ((one.second, one.first), 1) if value > 0 else ((one.first, one.second), -1)
        ends = sorted((sign * low, sign * high))
        than = f" than {worse}" if len(comparison.groups) > 2 else ""
        return f"{better} is better{than} by {_points(sign * value)} points ({_interval(*ends)}; {count}; {_p(one)})"
    return (
        f"{one.first} and {one.second} are not told apart: {one.second} minus {one.first} is {_points(value)} points "
        f"({_interval(low, high)}; {count}; {_p(one)})"
    )


def _interval(low: float, high: float) -> str:
    if low == -high and low < -1:  # the interval is infinite
        return "no interval: every pair of seeds differs by the same number of images"
    return f"95 %: {_points(low)} to {_points(high)}"


def _points(share: float) -> str:
    return f"{100 * share + 0.0:.2f}"


def _p(one: Difference) -> str:
    return f"p = {one.p:.2g}" if one.p >= 1e-6 else "p < 0.000001"


def _accuracy(group: Group) -> str:
    names = _names(group)
    if group.interval is None:
        each = ", ".join(f"{100 * share:.2f}" for share in group.right.mean(axis=1))
        return f"{group.letter}  top-1 {100 * group.accuracy:.2f} % (mean of {each})  {names}"
    low, high = group.interval
    return f"{group.letter}  top-1 {100 * group.accuracy:.2f} % ({100 * low:.2f} to {100 * high:.2f})  {names}"


def _names(group: Group) -> str:
    """Returns the runs of a group with the evaluated weights, such as 'runs/a (step 808, trained weights)'."""
    if len(set(group.weights)) > 1:
        pairs = zip(group.words, group.weights, strict=True)
        return printable(", ".join(f"{word} ({weights})" for word, weights in pairs))
    each = "each " if len(group.words) > 1 else ""
    return printable(f"{', '.join(group.words)} ({each}{group.weights[0]})")


def _omnibus(comparison: Comparison) -> str:
    assert comparison.omnibus is not None
    q, p = comparison.omnibus
    verdict = "the runs differ" if p < 0.05 else "no run differs from the others beyond chance"
    return f"Cochran's Q = {q:.2f}, p = {p:.2g}: {verdict}"


def _only_right(one: Difference) -> str:
    first, second = one.first, one.second
    return f"{one.only_first:,} images by {first} and not {second}, {one.only_second:,} by {second} and not {first}"


def _classes(comparison: Comparison) -> list[str]:
    found = [one for one in comparison.classes if one.told_apart]
    tests = len(comparison.classes)
    pairs = len(comparison.differences)
    about = f"{tests // pairs:,} classes in {pairs} pairs, Holm's correction" if pairs > 1 else "Holm's correction"
    if not found:
        return [f"none of {tests:,} told apart ({about})"]
    ordered = sorted(found, key=lambda one: one.p)
    listed = [_class_line(one, comparison.names) for one in ordered[:_LISTED]]
    return [f"{len(found):,} of {tests:,} told apart ({about})", *listed]


def _class_line(one: ClassDifference, names: Sequence[str]) -> str:
    more, less = (one.second, one.first) if one.only_second > one.only_first else (one.first, one.second)
    counts = sorted((one.only_first, one.only_second), reverse=True)
    name = printable(names[one.number])
    return f"{more} better than {less} in {name}: {counts[0]:,} to {counts[1]:,} of {one.images:,} images"
