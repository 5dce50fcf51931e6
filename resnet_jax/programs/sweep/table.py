"""The result of a sweep: mean accuracy of each combination of settings, and its paired difference to the first one."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.programs.comparison.statistics import CONFIDENCE, Estimate, holm, over_seeds
from resnet_jax.text import labelled_lines, printable


class Row(NamedTuple):
    """The results of one combination of settings."""

    name: str
    top1: dict[int, float]  # seed -> final accuracy, 0 to 1
    difference: Estimate | None  # accuracy minus that of the first combination, paired by seed; None: under 2 pairs
    pairs: int  # number of seeds that this and the first combination share
    p: float | None  # p-value of `difference` after Holm's correction for several combinations; None without it

    @property
    def mean(self) -> float | None:
        """The mean accuracy over the seeds; None if there are none."""
        return statistics.fmean(self.top1.values()) if self.top1 else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation of the accuracy over the seeds; None for fewer than two seeds."""
        return statistics.stdev(self.top1.values()) if len(self.top1) > 1 else None

    @property
    def told_apart(self) -> bool:
        """Whether the difference to the first combination is statistically significant."""
        return self.p is not None and self.p < 1 - CONFIDENCE


def make_table(names: Sequence[str], top1: Sequence[Mapping[int, float]]) -> list[Row]:
    """Returns a row for each combination of settings.

    Args:
      names: names of the combinations.
      top1: for each combination a dict seed -> final accuracy, 0 to 1; seeds may be missing.
    """
    rows = []
    for number, (name, own) in enumerate(zip(names, top1, strict=True)):
        shared = [seed for seed in own if seed in top1[0]] if number else []
        values = np.array([own[seed] - top1[0][seed] for seed in shared])
        estimate = over_seeds(values) if len(shared) > 1 else None
        rows.append(Row(name, dict(own), estimate, len(shared), None))
    compared = [row for row in rows if row.difference]
    adjusted = iter(holm(np.array([row.difference.p for row in compared if row.difference])).tolist())
    return [row._replace(p=next(adjusted)) if row.difference else row for row in rows]


def table_lines(rows: Sequence[Row], *, left: int = 0) -> list[str]:
    """Returns the table as log lines: a header, and a line for each combination.

    Args:
      rows: the combinations.
      left: number of runs that have not ended; if there are any, the first line says that the table is not final.
    """
    width = max(12, *(len(printable(row.name)) for row in rows))
    head = f"{'':<{width}}  top-1 %  deviation    n  minus the first, 95 % interval"
    lines = [head, *(_line(row, width, is_first=not number) for number, row in enumerate(rows))]
    if not left:
        return labelled_lines("sweep", lines)
    return labelled_lines("so far", [f"not the final table, {left} runs have not ended", *lines])


def _line(row: Row, width: int, *, is_first: bool) -> str:
    mean = f"{100 * row.mean:7.2f}" if row.mean is not None else "      -"
    deviation = f"{100 * row.deviation:9.2f}" if row.deviation is not None else "        -"
    compared = "" if is_first else f"  {_difference(row)}"
    return f"{printable(row.name):<{width}}  {mean}  {deviation}  {len(row.top1):3}{compared}"


def _difference(row: Row) -> str:
    if row.difference is None:
        return "needs at least two seeds run with both settings" if row.top1 else ""
    value, low, high, _ = row.difference
    verdict = "better" if value > 0 else "worse"
    verdict = verdict if row.told_apart else "not told apart"
    if not math.isfinite(low):
        return f"{100 * value:+.2f} points, the same for every seed: no interval"
    return f"{100 * value:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f}; p = {row.p:.2g}): {verdict}"


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns the rows as JSON values."""
    return [
        {
            "name": row.name,
            "top1": {str(seed): value for seed, value in row.top1.items()},
            "mean": row.mean,
            "deviation": row.deviation,
            "n": len(row.top1),
            "difference": _finite(row.difference),
            "pairs": row.pairs,
            "p": row.p,
            "told_apart": row.told_apart,
        }
        for row in rows
    ]


def _finite(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    return {key: value if math.isfinite(value) else None for key, value in estimate._asdict().items()}


def csv_rows(rows: Sequence[Row]) -> list[list[Any]]:
    """Returns the rows of `table.csv`, the header first."""
    head = ["name", "n", "mean", "deviation", "difference", "low", "high", "p", "told apart"]
    body = []
    for row in rows:
        numbers = row.difference[:3] if row.difference else (None, None, None)
        values = (row.mean, row.deviation, *numbers, row.p)
        cells = ["" if value is None or not math.isfinite(value) else f"{value:.6g}" for value in values]
        body.append([row.name, len(row.top1), *cells, row.told_apart])
    return [head, *body]
