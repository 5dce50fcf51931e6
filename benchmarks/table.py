"""Summarizes measurements in a table: medians, ranges and ratios."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.measurement import Measurement

_MEGABYTE = 10**6
_HEADER = (
    "pipeline",
    "images / CPU-s",
    "min - max",
    "ours is",
    "images / s",
    "min - max",
    "ours is",
    "peak RSS",
    "growth",
)


class Spread(NamedTuple):
    """Median and range of a quantity over the rounds."""

    median: float
    low: float
    high: float


class Row(NamedTuple):
    """The results of one pipeline."""

    name: str
    per_cpu_second: Spread  # images per CPU second
    per_second: Spread  # images per second
    ours_per_cpu_second: (
        float  # per_cpu_second of the first pipeline / that of this one, median of the ratios per round
    )
    ours_per_second: float  # the same ratio of per_second
    peak_rss: int  # bytes, maximum over the rounds
    growth: int  # bytes, increase of RSS during the window, median over the rounds


def summarize(rounds: Mapping[str, Sequence[Measurement]]) -> list[Row]:
    """Returns a row per pipeline, from its measurements per round; ratios refer to the first pipeline."""
    reference = next(iter(rounds.values()))
    return [_row(name, own, reference) for name, own in rounds.items()]


def render(rows: Sequence[Row]) -> str:
    """Formats the rows as a Markdown table."""
    return markdown([_HEADER, *map(_cells, rows)])


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """Formats lines of cells, the header first, as a Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _row(name: str, own: Sequence[Measurement], reference: Sequence[Measurement]) -> Row:
    efficiency, rate = list(map(_per_cpu_second, own)), list(map(_per_second, own))
    return Row(
        name=name,
        per_cpu_second=_spread(efficiency),
        per_second=_spread(rate),
        ours_per_cpu_second=_median_ratio(list(map(_per_cpu_second, reference)), efficiency),
        ours_per_second=_median_ratio(list(map(_per_second, reference)), rate),
        peak_rss=max(measurement.peak_rss for measurement in own),
        growth=int(statistics.median(measurement.peak_rss - measurement.start_rss for measurement in own)),
    )


def _per_cpu_second(measurement: Measurement) -> float:
    return measurement.images / measurement.cpu_seconds


def _per_second(measurement: Measurement) -> float:
    return measurement.images / measurement.seconds


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def _median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    return statistics.median(above / below for above, below in zip(numerators, denominators, strict=True))


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.per_cpu_second.median:,.0f}",
        f"{row.per_cpu_second.low:,.0f} - {row.per_cpu_second.high:,.0f}",
        f"{row.ours_per_cpu_second:.2f} x",
        f"{row.per_second.median:,.0f}",
        f"{row.per_second.low:,.0f} - {row.per_second.high:,.0f}",
        f"{row.ours_per_second:.2f} x",
        f"{row.peak_rss / _MEGABYTE:,.0f} MB",
        f"{row.growth / _MEGABYTE:,.0f} MB",
    )
