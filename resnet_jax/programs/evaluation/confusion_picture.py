"""The confusion matrix as a picture: each row is shaded by the share of its class that went to each column."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.programs.evaluation.confusion import Confusion
from resnet_jax.training.metrics import NO_ANSWER

_MOST_NUMBERED, _MOST_NAMED, _MOST_CELLS = 20, 60, 1000  # classes on a side
_LONGEST_NAME = 24  # characters
_INK, _FAINT = "#1f2328", "#59636e"
# Without its palest part: what is rare is to be told from what is not there.
_COLORS = ListedColormap(colormaps["Blues"](np.linspace(0.3, 1, 256)))


class Grid(NamedTuple):
    """What is drawn."""

    counts: np.ndarray  # [rows, columns]
    rows: list[str]  # names
    columns: list[str]
    group: int  # neighbouring classes that share a row and a column


def draw(confusion: Confusion, class_names: Sequence[str], *, title: str) -> Figure:
    """Draws the matrix: with numbers and names up to 20 classes, with names up to 60, else with class numbers.

    More than 1,000 classes are drawn in groups of neighbours. Outputs that are none of the data's classes share a
    column; they, images without an answer and unreadable ones are drawn where there are any.
    """
    grid = make_grid(confusion, class_names)
    numbered, named = len(class_names) <= _MOST_NUMBERED, len(class_names) <= _MOST_NAMED
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
    lines = "\n".join(_printable(line, line) for line in title.splitlines())
    axes.set_title(lines, loc="left", fontsize=10, color=_INK, parse_math=False)
    return figure


def make_grid(confusion: Confusion, class_names: Sequence[str]) -> Grid:
    """Lays the matrix out in at most 1,000 rows of classes, and the rows and columns of what is no class."""
    group = -(-len(class_names) // _MOST_CELLS)
    label, predicted = confusion.label, confusion.predicted
    names = [_printable(name, f"class {number}") for number, name in enumerate(class_names[::group])]
    extra = {"(other)": predicted >= confusion.num_classes, "(none)": predicted == NO_ANSWER}
    row, column = label // group, predicted // group
    rows, columns = list(names), list(names)
    row[label == UNREADABLE] = len(rows)
    rows += ["(unreadable)"] * bool(confusion.unreadable)
    for name, chosen in extra.items():
        column[chosen] = len(columns)
        columns += [name] * bool(chosen.any())
    counts = np.zeros((len(rows), len(columns)), np.int64)
    np.add.at(counts, (row, column), confusion.count)
    return Grid(counts, rows, columns, group)


def _shade(axes: Axes, grid: Grid, *, numbered: bool) -> AxesImage:
    """Where no numbers say what is rare, the scale is logarithmic."""
    rows, columns = grid.counts.shape
    shares = grid.counts / np.maximum(1, grid.counts.sum(axis=1, keepdims=True))
    least = min(0.1, shares[shares > 0].min(initial=1.0))
    axes.set_facecolor("white")
    return axes.imshow(
        np.ma.masked_equal(shares, 0),
        cmap=_COLORS,
        norm=Normalize(0, 1) if numbered else LogNorm(least, 1),
        interpolation="nearest",
        extent=(-0.5, columns * grid.group - 0.5, rows * grid.group - 0.5, -0.5),  # so that ticks are class numbers
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
    axes.tick_params(labelsize=8 if len(grid.rows) <= _MOST_NUMBERED + 1 else 7, colors=_INK, length=2)
    axes.spines[:].set_color("#d1d9e0")
    if not named:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10], integer=True))
        return
    upright = max(map(len, grid.columns)) <= 4
    axes.set_xticks(range(len(grid.columns)), grid.columns, rotation=0 if upright else 90, parse_math=False)
    axes.set_yticks(range(len(grid.rows)), grid.rows, parse_math=False)


def _printable(text: str, other: str) -> str:
    """The text on one line, cut off where it is long; `other` where the font cannot show it."""
    line = " ".join(text.split())
    short = line if len(line) <= _LONGEST_NAME or text is other else line[: _LONGEST_NAME - 1] + "…"
    glyphs = get_font(findfont(FontProperties())).get_charmap()
    if short and all(ord(character) in glyphs for character in short):
        return short
    return "".join(character for character in other if ord(character) in glyphs)
