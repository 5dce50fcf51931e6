"""Draws curves over the steps of a run as inline SVG, without a plotting library, in the colors of the page's CSS."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from resnet_jax.programs.report.html import text
from resnet_jax.programs.report.style import SERIES

_WIDTH, _HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 24
_MOST_POINTS = 400  # a curve with more points is thinned: groups of points are averaged


class Curve(NamedTuple):
    """A curve of a panel."""

    name: str
    steps: np.ndarray  # [N] float64
    values: np.ndarray  # [N] float64, NaN where unknown
    color: int  # index of its color, modulo `SERIES`
    dashed: bool = False


def panel(title: str, curves: Sequence[Curve], *, zero: bool = False) -> str:
    """Returns a figure with curves over the steps; '' if no curve has a value.

    Args:
      title: what the values are, with their unit; shown above the panel.
      curves: the curves.
      zero: whether the vertical axis begins at 0.
    """
    shown = [_thinned(curve) for curve in curves if np.isfinite(curve.values).any()]
    if not shown:
        return ""
    low, high = _limits(np.concatenate([curve.values for curve in shown]), zero=zero)
    last = max(1.0, *(float(curve.steps.max()) for curve in shown))
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    lines = "".join(_line(curve, last, low, high) for curve in shown)
    legend = " ".join(_key(curve) for curve in shown) if len(shown) > 1 else ""
    return (
        f'<figure><figcaption>{text(title)} {legend}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{text(title)} over steps">{_grid(ticks, low, high)}{_steps(last)}{lines}</svg></figure>'
    )


def _thinned(curve: Curve) -> Curve:
    known = np.isfinite(curve.values)
    steps, values = curve.steps[known], curve.values[known]
    group = -(-len(steps) // _MOST_POINTS)
    starts = np.arange(0, len(steps), group)
    counts = np.diff(np.append(starts, len(steps)))
    means = (np.add.reduceat(array, starts) / counts for array in (steps, values))
    return curve._replace(steps=next(means), values=next(means))


def _limits(values: np.ndarray, *, zero: bool) -> tuple[float, float]:
    """Returns the ends of the vertical axis; a few values far above all others are cut off, as in report.png."""
    lowest, upper, largest = np.quantile(values, (0.0, 0.9, 1.0))
    limit = upper + (upper - lowest)
    high = limit if lowest < upper and largest - lowest > 3 * (limit - lowest) else largest
    low = 0.0 if zero else lowest
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """Returns about three to six round numbers from `low` to `high`, for the marks of an axis."""
    size = 10 ** math.floor(math.log10((high - low) / 3))
    step = next(size * factor for factor in (1, 2, 5, 10) if (high - low) / (size * factor) <= 5)
    first = math.ceil(low / step - 1e-9)
    return [round(step * number, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)] or [low, high]


def _x(step: float, last: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last


def _y(value: float, low: float, high: float) -> float:
    height = _HEIGHT - _TOP - _BOTTOM
    return _TOP + height * (1 - min(1.0, max(0.0, (value - low) / (high - low))))


def _line(curve: Curve, last: float, low: float, high: float) -> str:
    points = " ".join(
        f"{_x(step, last):.1f},{_y(value, low, high):.1f}"
        for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True)
    )
    dash = ' stroke-dasharray="5 3"' if curve.dashed else ""
    name = f"<title>{text(curve.name)}</title>"
    if len(curve.steps) == 1:
        x, y = points.split(",")
        return f'<circle cx="{x}" cy="{y}" r="3" fill="{_color(curve)}">{name}</circle>'
    return f'<polyline points="{points}" stroke="{_color(curve)}"{dash}>{name}</polyline>'


def _color(curve: Curve) -> str:
    return f"var(--s{curve.color % SERIES})"


def _key(curve: Curve) -> str:
    style = f"background:{_color(curve)}" + (";opacity:.55" if curve.dashed else "")
    return f'<span><i class="key" style="{style}"></i>{text(curve.name)}</span>'


def _grid(ticks: Sequence[float], low: float, high: float) -> str:
    return "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{(y := _y(tick, low, high)):.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:,.6g}</text>'
        for tick in ticks
    )


def _steps(last: float) -> str:
    ticks = [tick for tick in _ticks(0.0, last) if tick <= last]
    return "".join(
        f'<text x="{_x(tick, last):.1f}" y="{_HEIGHT - 6}" text-anchor="{"end" if tick == last else "middle"}">'
        f"{tick:,.6g}</text>"
        for tick in ticks
    )
