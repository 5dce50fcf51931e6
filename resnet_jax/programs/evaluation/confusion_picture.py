"""Plots the confusion matrix; a cell's shade is the fraction of the row's class predicted as the column's class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.programs.evaluation.confusion import Confusion
from resnet_jax.reporting.glyphs import drawable
from resnet_jax.training.scores import NO_ANSWER

# Largest numbers of classes for which the plot has counts in its cells, class names, and a row for each class.
_MAX_NUMBERED, _MAX_NAMED, _MAX_CELLS = 20, 60, 1000
_INK, _FAINT = "#1f2328", "#59636e"
# The palest 30 % of the colormap are left out, so that cells with few predictions differ visibly from empty white ones.
_COLORS = ListedColormap(colormaps["Blues"](np.linspace(0.3, 1, 256)))


class Grid(NamedTuple):
    """The confusion matrix as plotted: rows are true classes, columns are predicted classes."""

    counts: np.ndarray  # [rows, columns] int64, number of examples
    rows: list[str]  # name of each row
    columns: list[str]  # name of each column
    group: int  # number of adjacent classes that share a row and a column


def plot_confusion(confusion: Confusion, class_names: Sequence[str], *, title: str) -> Figure:
    """Plots the matrix: up to 20 classes with counts and names, up to 60 with names, more than 60 with class numbers.

    Above 1,000 classes, adjacent classes share a row and a column. A row '(unreadable)' counts the images that
    could not be read, a column '(none)' the images without a prediction, and a column '(other)' the predictions of an
    output that is no class of the data; each is plotted only if it is not empty.
    """
    grid = make_grid(confusion, class_names)
    numbered, named = len(class_names) <= _MAX_NUMBERED, len(class_names) <= _MAX_NAMED
    cell = 0.48 if numbered else 0.19 if named else 8.0 / max(grid.counts.shape)  # inches
    height, width = (max(2.5, cell * length) for length in grid.counts.shape)
    margin = 0.5 + (0.065 * max(map(len, grid.rows + grid.columns)) if named else 0.3)
    figure = Figure((width + margin + 0.9, height + margin + 0.7), dpi=150, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    image = _shade(axes, grid, numbered=numbered)
    if numbered:
        _write_counts(axes, grid)
    else:
        bar = figure.colorbar(
            image, ax=axes, shrink=0.5, aspect=30, pad=0.02, format=lambda share, _: f"{100 * share:g} %"
        )
        bar.set_label("share of the true class", fontsize=8, color=_FAINT)
        bar.ax.tick_params(labelsize=7, colors=_FAINT)
        bar.outline.set_visible(False)
    _write_names(axes, grid, named=named)
    lines = "\n".join(drawable(line, line, max_length=1000) for line in title.splitlines())
    axes.set_title(lines, loc="left", fontsize=10, color=_INK, parse_math=False)
    return figure


def make_grid(confusion: Confusion, class_names: Sequence[str]) -> Grid:
    """Groups the classes into at most 1,000 rows and columns; adds '(unreadable)', '(other)', '(none)' if not empty."""
    group = -(-len(class_names) // _MAX_CELLS)
    label, predicted = confusion.label, confusion.predicted
    names = [drawable(name, f"class {number}") for number, name in enumerate(class_names[::group])]
    extra = {"(other)": predicted >= confusion.num_classes, "(none)": predicted == NO_ANSWER}
    row, column = label // group, predicted // group
    rows, columns = list(names), list(names)
    row[label == UNREADABLE] = len(rows)
    rows += ["(unreadable)"] * bool(confusion.unreadable)
    for name, selected in extra.items():
        column[selected] = len(columns)
        columns += [name] * bool(selected.any())
    counts = np.zeros((len(rows), len(columns)), np.int64)
    np.add.at(counts, (row, column), confusion.count)
    return Grid(counts, rows, columns, group)


def _shade(axes: Axes, grid: Grid, *, numbered: bool) -> AxesImage:
    """Colors each cell by its share of the row; the color scale is linear if `numbered`, else logarithmic."""
    rows, columns = grid.counts.shape
    shares = grid.counts / np.maximum(1, grid.counts.sum(axis=1, keepdims=True))
    least = min(0.1, shares[shares > 0].min(initial=1.0))
    axes.set_facecolor("white")
    return axes.imshow(
        np.ma.masked_equal(shares, 0),
        cmap=_COLORS,
        norm=Normalize(0, 1) if numbered else LogNorm(least, 1),
        interpolation="nearest",
        extent=(-0.5, columns * grid.group - 0.5, rows * grid.group - 0.5, -0.5),  # axis ticks are class numbers
    )


def _write_counts(axes: Axes, grid: Grid) -> None:
    shares = grid.counts / np.maximum(1, grid.counts.sum(axis=1, keepdims=True))
    for row, column in zip(*np.nonzero(grid.counts), strict=True):
        count = grid.counts[row, column]
        size = 9 if count < 1000 else 7 if count < 100_000 else 5.5
        color = "white" if shares[row, column] > 0.4 else _INK
        axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size, color=color)


def _write_names(axes: Axes, grid: Grid, *, named: bool) -> None:
    axes.set_ylabel("true class", fontsize=9, color=_FAINT)
    axes.set_xlabel("predicted class", fontsize=9, color=_FAINT)
    axes.tick_params(labelsize=8 if len(grid.rows) <= _MAX_NUMBERED + 1 else 7, colors=_INK, length=2)
    axes.spines[:].set_color("#d1d9e0")
    if not named:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10], integer=True))
        return
    upright = max(map(len, grid.columns)) <= 4
    axes.set_xticks(range(len(grid.columns)), grid.columns, rotation=0 if upright else 90, parse_math=False)
    axes.set_yticks(range(len(grid.rows)), grid.rows, parse_math=False)
