"""Plots a training run: loss, accuracy, learning rate, images/s, and wall time by phase."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from resnet_jax.files import replacing
from resnet_jax.reporting.metrics_file import Columns, read_columns
from resnet_jax.text import printable

_INK, _FAINT, _GRID = "#1f2328", "#59636e", "#d1d9e0"
# Okabe and Ito's palette, which color-blind people can tell apart (https://jfly.uni-koeln.de/color/).
_TRAIN, _EVAL, _MFU = "#0072b2", "#d55e00", "#cc79a7"
# Colors of the phases of the wall time, which are stacked from the bottom in this order. 'step' is lowest, so that its
# share can be read off the axis.
_PHASE_COLORS = {
    "step": "#0072b2",
    "input": "#d55e00",
    "host": "#e69f00",
    "checkpoint": "#cc79a7",
    "eval": "#009e73",
    "compile": "#56b4e9",
    "start": "#f0e442",
    "import": "#999999",
}
_MAX_WINDOWS = 2000  # largest number of windows of steps to plot: about twice the width of the panel in pixels
_MAX_MARKERS = 40  # a curve of more points is drawn without markers
_FEW = 2  # a curve of at most this many points is drawn with larger markers


def write_report(metrics_path: Path, picture_path: Path, *, title: str) -> None:
    """Plots `metrics.jsonl` into a PNG file of 1,200 x 1,600 pixels, written atomically."""
    columns = read_columns(metrics_path)
    train, evaluation = columns.get("train", {}), columns.get("eval", {})
    figure = Figure((8, 10.67), dpi=150, facecolor="white")
    panels = figure.subplots(
        5,
        1,
        sharex=True,
        height_ratios=(3, 3, 1.5, 2, 3),
        gridspec_kw={"left": 0.09, "right": 0.79, "bottom": 0.045, "top": 0.92, "hspace": 0.12},
    )
    figure.text(0.09, 0.985, _one_line(title), va="top", fontsize=11, color=_INK, parse_math=False)
    for axes, name in zip(panels, ("loss", "top-1 in %", "learning rate", "images/s", "wall time in %"), strict=True):
        _style(axes, name)
    _plot_loss(panels[0], train, evaluation)
    _plot_accuracy(panels[1], train, evaluation)
    _plot_line(panels[2], train, "lr")
    _plot_rate(panels[3], train)
    _plot_phases(panels[4], train)
    _label_steps(panels, train, evaluation)
    with replacing(picture_path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def _plot_loss(axes: Axes, train: Columns, evaluation: Columns) -> None:
    _plot_line(axes, train, "loss", label="training")
    _plot_line(axes, evaluation, "loss", label="evaluation", color=_EVAL)
    _cut_peaks(axes, np.concatenate([columns.get("loss", np.empty(0)) for columns in (train, evaluation)]))
    _add_legend(axes)


def _cut_peaks(axes: Axes, values: np.ndarray) -> None:
    """If a few values are far above all others, limits the axis and writes the largest value into the panel.

    The axis is limited if the lower 90 % of the values take less than a sixth of its height. They then take half of it.
    The loss of the first evaluation is often such a peak, because the batch norm statistics average few batches.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return
    lowest, high, largest = np.quantile(finite, (0.0, 0.9, 1.0))
    limit = high + (high - lowest)
    if lowest < high and largest - lowest > 3 * (limit - lowest):
        margin = 0.05 * (limit - lowest)
        axes.set_ylim(lowest - margin, limit)
        for line in axes.lines:
            line.set_clip_on(True)
        note = f"largest: {largest:.3g}"
        axes.text(0.99, 0.95, note, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=_FAINT)


def _plot_accuracy(axes: Axes, train: Columns, evaluation: Columns) -> None:
    _plot_line(axes, train, "top1", label="training", factor=100)
    _plot_line(axes, evaluation, "top1", label="evaluation", color=_EVAL, factor=100)
    top1 = evaluation.get("top1", np.empty(0))
    if np.isfinite(top1).any():
        # Of evaluations with equal accuracy, the last one is marked: its checkpoint is kept as the best one too
        # (`checkpoints/retention.py`).
        best = len(top1) - 1 - int(np.nanargmax(top1[::-1]))
        step, percent = evaluation["step"][best], 100 * top1[best]
        label = f"best: {percent:.2f} %\nat step {step:,.0f}"
        axes.plot(step, percent, "*", color=_EVAL, markersize=11, markeredgecolor=_INK, clip_on=False, label=label)
    _add_legend(axes)


def _plot_rate(axes: Axes, train: Columns) -> None:
    _plot_line(axes, train, "images_per_second", label="images/s")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:,.6g}"))
    utilisations = [train[name] for name in ("mfu", "hfu") if np.isfinite(train.get(name, np.empty(0))).any()]
    if not utilisations:
        return
    right = axes.twinx()
    _style(right, "MFU in %, HFU dotted")
    right.grid(visible=False)
    _plot_line(right, train, "mfu", color=_MFU, factor=100)
    _plot_line(right, train, "hfu", color=_MFU, factor=100, style=":")
    # MFU is proportional to images/s: a higher axis limit keeps the MFU curve below the images/s curve.
    right.set_ylim(0, 125 * max(map(np.nanmax, utilisations)))
    right.yaxis.label.set_color(_MFU)
    axes.yaxis.label.set_color(_TRAIN)


def _plot_phases(axes: Axes, train: Columns) -> None:
    """Plots the shares of the phases in the wall time over the steps, stacked; the legend has the same order."""
    axes.set_ylim(0, 100)
    if not len(train.get("seconds", ())):
        return
    steps, shares = _windows(train)
    base = np.where(np.isfinite(shares).any(axis=0), 0.0, np.nan)
    for phase, share in zip(_PHASE_COLORS, np.nan_to_num(shares), strict=True):
        if share.any():
            top = base + 100 * share
            axes.stairs(
                top, steps, baseline=base, fill=True, color=_PHASE_COLORS[phase], label=phase, lw=0, antialiased=False
            )
            base = top
    _add_legend(axes, from_top=True)


def _windows(train: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Returns the windows of steps to plot, and the share of each phase in the wall time of each window.

    A window is a line of `metrics.jsonl`. If there are more than `_MAX_WINDOWS` lines, a window is the mean of several
    adjacent lines, weighted by their seconds.

    Returns:
      Two arrays: the steps at which the N windows begin and end, [N + 1], and the shares of the phases, [phases, N] in
      the order of `_PHASE_COLORS`, NaN where unknown. The first window begins at step 0.
    """
    seconds, absent = train["seconds"], np.full(len(train["step"]), np.nan)
    spent = seconds * np.stack([train.get(f"share_{phase}", absent) for phase in _PHASE_COLORS])
    group = -(-len(seconds) // _MAX_WINDOWS)
    starts = np.arange(0, len(seconds), group)
    ends = np.append(starts[1:], len(seconds)) - 1
    known = np.isfinite(spent)
    total = np.add.reduceat(np.where(known.any(axis=0), seconds, 0.0), starts)
    sums = np.add.reduceat(np.where(known, spent, 0.0), starts, axis=1)
    shares = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
    return np.append(0.0, train["step"][ends]), shares


def _plot_line(
    axes: Axes,
    columns: Columns,
    name: str,
    *,
    label: str | None = None,
    color: str = _TRAIN,
    factor: float = 1.0,
    style: str = "-",
) -> None:
    """Plots the metric `name` over the steps if it has a finite value; with point markers if the values are few."""
    values = columns.get(name, np.empty(0))
    if np.isfinite(values).any():
        count = np.isfinite(values).sum()
        axes.plot(
            columns["step"],
            factor * values,
            style,
            color=color,
            lw=1.2,
            marker="o" if count <= _MAX_MARKERS else "",
            markersize=6 if count <= _FEW else 3,
            clip_on=False,
            label=label,
        )


def _label_steps(panels: np.ndarray, train: Columns, evaluation: Columns) -> None:
    """Labels the lower axis with steps and, where epochs are known, the upper axis with epochs."""
    last = max((columns["step"].max() for columns in (train, evaluation) if columns), default=1.0)
    panels[0].set_xlim(0, max(last, 1.0))
    panels[-1].set_xlabel("step", fontsize=9, color=_FAINT)
    panels[-1].xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
    panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    epochs = train.get("epoch", np.empty(0))
    if len(epochs) and epochs[-1] > 0:
        above = panels[0].twiny()
        _style(above, "")
        above.grid(visible=False)
        above.set_xlim(0, max(last, 1.0) * epochs[-1] / train["step"][-1])
        above.set_xlabel("epoch", fontsize=9, color=_FAINT)


def _style(axes: Axes, name: str) -> None:
    axes.set_ylabel(name, fontsize=9, color=_FAINT)
    axes.tick_params(labelsize=8, colors=_INK, length=2)
    axes.spines[:].set_color(_GRID)
    axes.grid(color=_GRID, lw=0.5)
    axes.set_axisbelow(True)


def _add_legend(axes: Axes, *, from_top: bool = False) -> None:
    """Adds a legend beside the panel if it has labeled curves; `from_top` lists the last curve first."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        order = slice(None, None, -1) if from_top else slice(None)
        axes.legend(
            handles[order],
            labels[order],
            loc="upper left",
            bbox_to_anchor=(1.01, 1.02),
            fontsize=8,
            frameon=False,
        )


def _one_line(text: str) -> str:
    """Returns the text on one line, with escape sequences for characters that the font lacks."""
    return printable(" ".join(text.split())).encode("latin-1", "backslashreplace").decode("latin-1")
