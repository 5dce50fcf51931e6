"""Plots the reliability diagram: accuracy against confidence, and below it a histogram of the confidence."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnet_jax.reporting.glyphs import drawable

_INK, _FAINT, _BLUE, _GAP = "#1f2328", "#59636e", "#6a9fd4", "#d1242f"


def plot_calibration(calibration: dict[str, Any], *, title: str) -> Figure:
    """Plots the bins of `calibration`; the red bars are the gaps between accuracy and mean confidence."""
    figure = Figure((5.2, 5.6), dpi=150, facecolor="white", layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = [bin_ for bin_ in calibration["reliability"] if bin_["images"]]
    middles = [(bin_["low"] + bin_["high"]) / 2 for bin_ in filled]
    width = 0.9 / calibration["bins"]
    above.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle="--")
    above.bar(middles, [bin_["accuracy"] for bin_ in filled], width, color=_BLUE)
    gaps = [bin_["confidence"] - bin_["accuracy"] for bin_ in filled]
    above.bar(middles, gaps, width / 4, bottom=[bin_["accuracy"] for bin_ in filled], color=_GAP)
    below.bar(middles, [bin_["images"] for bin_ in filled], width, color=_BLUE)
    above.set(xlim=(0, 1), ylim=(0, 1))
    _label(above, "accuracy")
    _label(below, "images")
    below.set_xlabel("confidence: probability of the predicted class", fontsize=9, color=_FAINT)
    above.text(0.03, 0.97, _numbers(calibration), va="top", fontsize=8, color=_INK, transform=above.transAxes)
    lines = "\n".join(drawable(line, line, max_length=1000) for line in title.splitlines())
    above.set_title(lines, loc="left", fontsize=10, color=_INK, parse_math=False)
    return figure


def _numbers(calibration: dict[str, Any]) -> str:
    return (
        f"ECE {100 * calibration['ece']:.2f} %\nadaptive {100 * calibration['adaptive_ece']:.2f} %\n"
        f"Brier {calibration['brier']:.4f}\ntemperature {calibration['temperature']['value']:.3f}"
    )


def _label(axes: Axes, name: str) -> None:
    axes.set_ylabel(name, fontsize=9, color=_FAINT)
    axes.tick_params(labelsize=8, colors=_INK, length=2)
    axes.spines[:].set_color("#d1d9e0")
