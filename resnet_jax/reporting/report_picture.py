"""A training run as a picture: its loss, accuracy, learning rate and speed, and where its time went."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

Columns = dict[str, np.ndarray]  # float64 [lines] by name, of one split; 'step' among them


def read_columns(path: Path) -> dict[str, Columns]:
    """The numbers of each split ('train', 'eval'), in order; NaN where a line has null, or not that name."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for record in _records(path):
        lines.setdefault(record["split"], []).append(record)
    return {split: _columns(records) for split, records in lines.items()}


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """What each line says, without those that a kill or a full disk cut short."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(record, dict):
                yield record


def _columns(records: list[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(name for record in records for name in record if name != "split")
    return {name: np.array([record.get(name) for record in records], np.float64) for name in names}


_INK, _FAINT, _GRID = "#1f2328", "#59636e", "#d1d9e0"
# Okabe and Ito's palette, which colour-blind people can tell apart (https://jfly.uni-koeln.de/color/).
_TRAIN, _EVAL, _MFU = "#0072b2", "#d55e00", "#cc79a7"
# From the bottom: the share of work can be read off the axis.
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
_MOST_WINDOWS = 2000  # twice the panel's pixels
_FEW = 40  # points that are marked besides being joined


def draw(metrics_path: Path, picture_path: Path, *, title: str) -> None:
    """Draws what `metrics.jsonl` says into a PNG file of 1,200 x 1,600 pixels, which is there whole or not at all."""
    columns = read_columns(metrics_path)
    train, evaluation = columns.get("train", {}), columns.get("eval", {})
    figure = Figure((8, 10.67), dpi=150, facecolor="white")
    panels = figure.subplots(
        *(5, 1),
        sharex=True,
        height_ratios=(3, 3, 1.5, 2, 3),
        gridspec_kw={"left": 0.09, "right": 0.79, "bottom": 0.045, "top": 0.92, "hspace": 0.12},
    )
    figure.text(0.09, 0.985, _printable(title), va="top", fontsize=11, color=_INK, parse_math=False)
    for axes, name in zip(panels, ("loss", "top-1 in %", "learning rate", "images/s", "wall time in %"), strict=True):
        _style(axes, name)
    _draw_loss(panels[0], train, evaluation)
    _draw_accuracy(panels[1], train, evaluation)
    _draw_line(panels[2], train, "lr")
    _draw_rate(panels[3], train)
    _draw_ledger(panels[4], train)
    _number_steps(panels, train, evaluation)
    part = picture_path.with_name(picture_path.name + ".part")
    try:
        figure.savefig(part, format="png", metadata={"Software": None})
        part.replace(picture_path)
    finally:
        part.unlink(missing_ok=True)


def _draw_loss(axes: Axes, train: Columns, evaluation: Columns) -> None:
    _draw_line(axes, train, "loss", label="training")
    _draw_line(axes, evaluation, "loss", label="evaluation", color=_EVAL)
    _explain(axes)


def _draw_accuracy(axes: Axes, train: Columns, evaluation: Columns) -> None:
    _draw_line(axes, train, "top1", label="training", factor=100)
    _draw_line(axes, evaluation, "top1", label="evaluation", color=_EVAL, factor=100)
    top1 = evaluation.get("top1", np.empty(0))
    if np.isfinite(top1).any():
        best = int(np.nanargmax(top1))
        step, percent = evaluation["step"][best], 100 * top1[best]
        label = f"best: {percent:.2f} %\nat step {step:,.0f}"
        axes.plot(step, percent, "*", color=_EVAL, markersize=11, markeredgecolor=_INK, clip_on=False, label=label)
    _explain(axes)


def _draw_rate(axes: Axes, train: Columns) -> None:
    _draw_line(axes, train, "images_per_second", label="images/s")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:,.6g}"))
    if not np.isfinite(train.get("mfu", np.empty(0))).any():
        return
    right = axes.twinx()
    _style(right, "MFU in %")
    right.grid(visible=False)
    _draw_line(right, train, "mfu", color=_MFU, factor=100)
    right.set_ylim(0, 125 * np.nanmax(train["mfu"]))  # below the rate, with which it mostly is in proportion
    right.yaxis.label.set_color(_MFU)
    axes.yaxis.label.set_color(_TRAIN)


def _draw_ledger(axes: Axes, train: Columns) -> None:
    """Stacks the shares of each window of steps; legend and stack have the same order."""
    axes.set_ylim(0, 100)
    if not len(train.get("seconds", ())):
        return
    steps, shares = _windows(train)
    base = np.where(np.isfinite(shares).any(axis=0), 0.0, np.nan)
    for part, share in zip(_PHASE_COLORS, np.nan_to_num(shares), strict=True):
        if share.any():
            top = base + 100 * share
            axes.stairs(
                top, steps, baseline=base, fill=True, color=_PHASE_COLORS[part], label=part, lw=0, antialiased=False
            )
            base = top
    _explain(axes, from_top=True)


def _windows(train: Columns) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which windows end, from 0 [N + 1], and the share of each of `_PHASE_COLORS` in each [parts, N].

    Where there are more windows than can be seen, neighbours are taken together, by their seconds.
    """
    seconds, absent = train["seconds"], np.full(len(train["step"]), np.nan)
    spent = seconds * np.stack([train.get(f"share_{part}", absent) for part in _PHASE_COLORS])
    group = -(-len(seconds) // _MOST_WINDOWS)
    starts = np.arange(0, len(seconds), group)
    ends = np.append(starts[1:], len(seconds)) - 1
    known = np.isfinite(spent)
    total = np.add.reduceat(np.where(known.any(axis=0), seconds, 0.0), starts)
    sums = np.add.reduceat(np.where(known, spent, 0.0), starts, axis=1)
    shares = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
    return np.append(0.0, train["step"][ends]), shares


def _draw_line(
    axes: Axes, columns: Columns, name: str, *, label: str | None = None, color: str = _TRAIN, factor: float = 1.0
) -> None:
    """Joins the points of a column, where there are any; small marks where they are few."""
    values = columns.get(name, np.empty(0))
    if np.isfinite(values).any():
        marker = "o" if np.isfinite(values).sum() <= _FEW else ""
        line: dict[str, Any] = {"color": color, "lw": 1.2, "marker": marker, "markersize": 3, "clip_on": False}
        axes.plot(columns["step"], factor * values, label=label, **line)


def _number_steps(panels: np.ndarray, train: Columns, evaluation: Columns) -> None:
    """Steps below, and epochs above where they are known."""
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


def _explain(axes: Axes, *, from_top: bool = False) -> None:
    """A legend beside the panel, if there is anything to explain."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        order = slice(None, None, -1) if from_top else slice(None)
        axes.legend(
            *(handles[order], labels[order]), loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=8, frameon=False
        )


def _printable(text: str) -> str:
    """The text on one line, in characters that the font has."""
    line = " ".join(text.split()).encode("latin-1", "backslashreplace").decode("latin-1")
    return "".join(character if character.isprintable() else "?" for character in line)
