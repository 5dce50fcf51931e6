"""Plots the learning rate of every recipe of `configs/` over its epochs.

    python benchmarks/schedules_picture.py [--out docs/images/schedules.png]

A curve is the schedule that training builds from the config, evaluated at whole steps, for a data set with the number
of images of the synthetic source. Where the image size grows during a run, the line gets thicker.
"""

import argparse
import importlib
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from resnet_jax.configs import resnet50_fast
from resnet_jax.experiment.inputs import open_from
from resnet_jax.experiment.milestones import make_milestones, schedule_options
from resnet_jax.programs.recipes import get_recipe, recipes
from resnet_jax.training.schedules import create_schedule

_ROOT = Path(__file__).resolve().parent.parent
_OUT = _ROOT / "docs" / "images" / "schedules.png"
_ARGUMENTS = {"resnet50_fast": tuple(map(str, resnet50_fast.GROWTH))}  # by config, the arguments to plot
_COMPARED = ("resnet50", "resnet50_r1")
_COLUMNS = 3
_INK, _FAINT, _BLUE, _ORANGE = "#1f2328", "#59636e", "#0969da", "#bc4c00"


class Curve(NamedTuple):
    """The learning rate of a run and what its panel shows."""

    name: str  # name of the config with its argument, for example 'resnet50_fast:32'
    epochs: np.ndarray  # [N] float, epoch of each point
    rates: np.ndarray  # [N] float, learning rate of each point
    batch_size: int
    length: float  # length of the run in epochs
    optimizer: str
    sizes: tuple[int, ...]  # successive image sizes in pixels
    until_epochs: tuple[float, ...]  # epoch at which each image size but the last ends


def main(argv: Sequence[str] | None = None) -> None:
    """Computes the curves, plots them and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=_OUT, help="PNG file (%(default)s)")
    options = parser.parse_args(argv)
    curves = {name: [curve(name, *argument) for argument in arguments(name)] for name in config_names()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    plot_curves(curves).savefig(options.out)
    print(f"{options.out}  {options.out.stat().st_size / 1000:,.0f} kB, {len(curves)} configs")


def config_names() -> list[str]:
    """Returns the names of the recipes: the compared ones first, then those for ImageNet, then the others.

    A recipe whose schedule depends on the number of images is left out.
    """
    names = [name for name, _ in recipes() if get_recipe(name).train.epochs is not None]
    return sorted(names, key=lambda name: (name not in _COMPARED, not name.startswith("resnet50"), name))


def arguments(name: str) -> list[tuple[str, ...]]:
    """Returns the arguments with which a config is plotted, each as a tuple of zero or one string."""
    return [(argument,) for argument in _ARGUMENTS[name]] if name in _ARGUMENTS else [()]


def curve(name: str, *argument: str) -> Curve:
    """Returns the rates of a config at 2,000 evenly spaced steps and at the steps where the schedule changes form."""
    config = importlib.import_module(f"resnet_jax.configs.{name}").get_config(*argument)
    config.data.source = "synthetic"
    milestones = make_milestones(config, len(open_from(config, training=True, cache_dir=None)))
    schedule = create_schedule(**schedule_options(config, milestones))
    last = milestones.total_steps - 1
    steps = np.unique([*np.linspace(0, last, 2000).astype(int), *(step for step in schedule.moments if step <= last)])
    return Curve(
        name=":".join((name, *argument)),
        epochs=steps / milestones.steps_per_epoch,
        rates=np.asarray(jax.jit(schedule)(steps)),
        batch_size=config.data.batch_size,
        length=milestones.total_steps / milestones.steps_per_epoch,
        optimizer=config.optimizer.name,
        sizes=(*config.data.progressive.sizes, config.data.image_size),
        until_epochs=tuple(config.data.progressive.until_epochs),
    )


def plot_curves(curves: dict[str, list[Curve]]) -> Figure:
    """Plots one panel per config: two columns wide for the comparison and configs of several lengths, else one."""
    wide = [name for name, own in curves.items() if len(own) > 1]
    single = [name for name in curves if name not in wide]
    rows = 1 + len(wide) + -(-max(0, len(single) - 1 - len(wide)) // _COLUMNS)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(10.8, 2.5 * rows), dpi=100, facecolor="white", layout=layout)
    grid = figure.add_gridspec(rows, _COLUMNS)
    _compare(figure.add_subplot(grid[0, : _COLUMNS - 1]), [curves[name][0] for name in _COMPARED])
    for row, name in enumerate(wide, start=1):
        _plot_lengths(figure.add_subplot(grid[row, : _COLUMNS - 1]), name, curves[name])
    beside = [(row, _COLUMNS - 1) for row in range(1 + len(wide))]
    below = [(row, column) for row in range(1 + len(wide), rows) for column in range(_COLUMNS)]
    for cell, name in zip(beside + below, single, strict=False):
        _plot_run(figure.add_subplot(grid[cell]), curves[name][0])
    return figure


def _compare(axes: Axes, curves: Sequence[Curve]) -> None:
    """Plots several runs on a logarithmic scale, with rates scaled to a batch size of 256."""
    for own, colour, above in zip(curves, (_BLUE, _ORANGE), (-13, 4), strict=True):
        rates = own.rates * 256 / own.batch_size
        axes.plot(own.epochs, np.maximum(rates, 1e-9), color=colour, linewidth=1.8, label=own.name)
        top = int(np.argmax(rates))
        _write(axes, f"peak {rates[top]:.3g}", (own.epochs[top], rates[top]), (5, above), color=colour)
    axes.set_yscale("log")
    axes.set_ylim(1e-5, 0.4)
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.04, 0))
    _style(axes, " and ".join(_COMPARED), "rate for 256 images, logarithmic", max(own.length for own in curves))


def _plot_run(axes: Axes, own: Curve) -> None:
    """Plots one run and labels its highest and last rate."""
    axes.plot(own.epochs, own.rates, color=_BLUE, linewidth=1.8)
    _mark_peak(axes, own)
    peak, last = own.rates.max(), own.rates[-1]
    end = "0" if last < 1e-6 * peak else f"{last:.3g}"
    _write(axes, f"ends at {end}", (own.epochs[-1], last), (0, 24), ha="right")
    axes.set_ylim(0, 1.22 * peak)
    about = f"{own.optimizer}, batch {own.batch_size:,}, {own.length:.3g} epochs, {_sizes(own)} px"
    _style(axes, own.name, about, own.length)


def _plot_lengths(axes: Axes, name: str, curves: Sequence[Curve]) -> None:
    """Plots runs of several lengths, with a dot where the image size of each grows."""
    for own in curves:
        bounds = (0.0, *own.until_epochs, own.length)
        for stage, (start, stop) in enumerate(itertools.pairwise(bounds)):
            inside = (own.epochs >= start) & (own.epochs <= stop)
            axes.plot(own.epochs[inside], own.rates[inside], color=_BLUE, linewidth=0.9 + 1.5 * stage)
        rates = np.interp(own.until_epochs, own.epochs, own.rates)
        (dots,) = axes.plot(own.until_epochs, rates, "o", color=_ORANGE, markersize=5)
    dots.set_label(f"the images grow: {_sizes(curves[0])} px")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    _mark_peak(axes, curves[0])
    axes.set_ylim(0, 1.22 * curves[0].rates.max())
    lengths = [round(own.length) for own in curves]
    about = f"{curves[0].optimizer}, batch {curves[0].batch_size:,}, {', '.join(map(str, lengths))} epochs"
    _style(axes, name, about, max(lengths))
    axes.set_xticks([0, *lengths])
    axes.tick_params(axis="x", labelsize=7.5)  # 16 and 18 are close


def _mark_peak(axes: Axes, own: Curve) -> None:
    top = int(np.argmax(own.rates))
    axes.plot(own.epochs[top], own.rates[top], "o", color=_INK, markersize=4)
    _write(axes, f"peak {own.rates[top]:.4g}", (own.epochs[top], own.rates[top]), (6, 3))


def _sizes(own: Curve) -> str:
    return " to ".join(map(str, own.sizes))


def _write(axes: Axes, text: str, point: tuple[float, float], offset: tuple[int, int], **style: Any) -> None:
    """Writes text at an offset from a point of the axes, in typographic points to the right and upward."""
    axes.annotate(text, point, offset, textcoords="offset points", size=9, **({"color": _INK} | style))


def _style(axes: Axes, title: str, about: str, length: float) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK, pad=19)
    axes.annotate(about, (0, 1), (0, 5), "axes fraction", textcoords="offset points", size=9, color=_FAINT)
    axes.set_xlabel("epoch", loc="right", fontsize=8.5, color=_FAINT, labelpad=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=_FAINT)
    axes.grid(axis="y", color="#d1d9e0", linewidth=0.5)
    axes.set_xlim(0, 1.01 * length)
    intervals = next(count for count in (3, 4, 2, 1) if round(length) % count == 0)
    axes.set_xticks([number * round(length) // intervals for number in range(intervals + 1)])
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


if __name__ == "__main__":
    main()
