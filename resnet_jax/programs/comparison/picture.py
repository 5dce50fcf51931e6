"""Plots a comparison: the accuracies, the differences with their intervals, and the classes that differ most."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnet_jax.programs.comparison.compare import ClassDifference, Comparison
from resnet_jax.programs.comparison.lines import sentence
from resnet_jax.reporting.glyphs import drawable

_INK, _FAINT, _BLUE, _RED = "#1f2328", "#59636e", "#0969da", "#d1242f"
_CLASSES = 20  # maximum number of classes that are plotted


def plot_comparison(comparison: Comparison) -> Figure:
    """Plots the comparison; significant differences are red."""
    groups, pairs = comparison.groups, comparison.differences
    classes = _largest(comparison)
    heights = [0.8 + 0.3 * len(groups), 0.8 + 0.3 * len(pairs), 0.8 + 0.22 * len(classes)]
    figure = Figure((8, 0.7 + sum(heights)), dpi=150, facecolor="white", layout="constrained")
    above, middle, below = figure.subplots(3, 1, height_ratios=heights)
    _plot_accuracies(above, comparison)
    _plot_differences(middle, comparison)
    _plot_classes(below, comparison)
    title = sentence(comparison, pairs[0]) if len(pairs) == 1 else f"{len(groups)} runs, n = {comparison.images:,}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, color=_INK)
    return figure


def _plot_accuracies(axes: Axes, comparison: Comparison) -> None:
    labels = []
    for row, group in enumerate(comparison.groups):
        shares = 100 * group.right.mean(axis=1)
        axes.plot(shares, [row] * len(shares), "o", color=_BLUE, markersize=4)
        if group.interval is not None:
            axes.hlines(row, 100 * group.interval[0], 100 * group.interval[1], color=_BLUE)
        labels.append(f"{group.letter}  {drawable(group.words[0], group.letter, max_length=40)}")
    what = "95 % interval over images" if comparison.seeds == 1 else "each seed"
    _style(axes, labels, f"top-1 in percent, {what}")


def _plot_differences(axes: Axes, comparison: Comparison) -> None:
    labels = []
    axes.axvline(0, color=_FAINT, linewidth=1, linestyle="--")
    for row, one in enumerate(comparison.differences):
        color = _RED if one.told_apart else _FAINT
        axes.plot(100 * one.estimate.value, row, "o", color=color, markersize=4)
        if math.isfinite(one.estimate.low):
            axes.hlines(row, 100 * one.estimate.low, 100 * one.estimate.high, color=color)
        labels.append(f"{one.second} minus {one.first}")
    _style(axes, labels, "difference of top-1 in percentage points, 95 % interval")


def _plot_classes(axes: Axes, comparison: Comparison) -> None:
    labels = []
    axes.axvline(0, color=_FAINT, linewidth=1, linestyle="--")
    for row, one in enumerate(_largest(comparison)):
        color = _RED if one.told_apart else _FAINT
        axes.barh(row, (one.only_second - one.only_first) / comparison.seeds, 0.7, color=color)
        pair = f"{one.second} - {one.first}  " if len(comparison.differences) > 1 else ""
        labels.append(pair + drawable(comparison.names[one.number], f"class {one.number}"))
    second = comparison.differences[0].second if len(comparison.differences) == 1 else "the first letter"
    _style(axes, labels, f"images of a class that {second} gets right more often")


def _largest(comparison: Comparison) -> list[ClassDifference]:
    """Returns the classes with the smallest p-values; among equal p-values, those with the largest differences."""
    different = [one for one in comparison.classes if one.only_first != one.only_second]
    return sorted(different, key=lambda one: (one.p, -abs(one.only_second - one.only_first)))[:_CLASSES]


def _style(axes: Axes, labels: list[str], title: str) -> None:
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel(title, fontsize=8, color=_FAINT)
    axes.tick_params(labelsize=8, colors=_INK, length=2)
    axes.spines[:].set_color("#d1d9e0")
