"""The common result of several evaluations of the same weights: `certificates.json`, `table.csv`, log lines."""

import csv
import hashlib
import io
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resnet_jax.files import write_atomically
from resnet_jax.programs.evaluation.certificate import accuracy_with_interval
from resnet_jax.programs.evaluation.corruptions import corruption_errors
from resnet_jax.text import labelled, labelled_lines, printable

ALL, TABLE = "certificates.json", "table.csv"


class Row(NamedTuple):
    """The result of one evaluation: a row of the table."""

    set_name: str
    group: str
    directory: Path
    certificate: dict[str, Any]

    @property
    def size(self) -> int:
        """The image size in pixels."""
        size: int = self.certificate["preprocessing"]["image_size"]
        return size


def write_table(rows: Sequence[Row], evaluations: Path) -> Path:
    """Writes `certificates.json` and `table.csv` to a directory below `evaluations`; returns the directory."""
    names = [row.directory.name for row in rows]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:6]
    directory = evaluations / f"{names[0].split('-')[0]}-{len(rows)}-evaluations-{digest}"
    directory.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table_rows(rows))
    content = {
        "groups": summaries(rows),
        "certificates": [{"set": row.set_name, "directory": row.directory.name, **row.certificate} for row in rows],
    }
    write_atomically(directory / TABLE, text.getvalue())
    write_atomically(directory / ALL, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return directory


def table_rows(rows: Sequence[Row]) -> Iterable[Sequence[Any]]:
    """Yields the rows of `table.csv`: a header, then one for each evaluation."""
    yield (
        "set",
        "group",
        "image size",
        "images",
        "top1",
        "low",
        "high",
        "top5",
        "several labels top1",
        "ece",
        "directory",
    )
    for row in rows:
        result, calibration = row.certificate["eval"], row.certificate["calibration"]
        several = row.certificate.get("several_labels") or {"top1": None}
        numbers = (result["top1"], *row.certificate["interval"]["top1"], result["top5"], several["top1"])
        cells = ["" if number is None else f"{number:.6f}" for number in (*numbers, calibration and calibration["ece"])]
        yield row.set_name, row.group, row.size, result["count"], *cells, row.directory.name


def summaries(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns the mean top-1 accuracy of each group of evaluation sets at each image size; for ImageNet-C also the mCE.

    The three ImageNet-V2 sets, for example, are a group. Groups of one set are left out.
    """
    keys = dict.fromkeys((row.group, row.size) for row in rows)
    found = []
    for group, size in keys:
        own = {row.set_name: row.certificate["eval"]["top1"] for row in rows if (row.group, row.size) == (group, size)}
        if len(own) > 1:
            errors = corruption_errors({name: 1 - top1 for name, top1 in own.items()})
            found.append({"group": group, "image_size": size, "sets": len(own), "top1": statistics.fmean(own.values())})
            found[-1] |= {"corruption": errors} if errors else {}
    return found


def table_lines(rows: Sequence[Row], directory: Path) -> list[str]:
    """Returns the log lines of the table: one for each evaluation, and one for the mean of each group of sets."""
    width = max(len(printable(row.set_name)) for row in rows)
    lines = [
        f"{printable(row.set_name):<{width}}  {row.size:>4} px  {accuracy_with_interval(row.certificate, 'top1')}, "
        f"n = {row.certificate['eval']['count']:,}{_several(row.certificate)}"
        for row in rows
    ]
    means = [_mean(summary) for summary in summaries(rows)]
    return [
        *labelled_lines("table", lines),
        *labelled_lines("mean", means),
        labelled("results", f"{directory}/: {ALL}, {TABLE}"),
    ]


def _several(certificate: dict[str, Any]) -> str:
    several = certificate.get("several_labels")
    return "" if not several or several["top1"] is None else f"; several labels {100 * several['top1']:.2f} %"


def _mean(summary: dict[str, Any]) -> str:
    line = f"{printable(summary['group'])}  {summary['image_size']:>4} px  top-1 {100 * summary['top1']:.2f} %"
    line += f", mean of {summary['sets']} sets"
    corruption = summary.get("corruption")
    if not corruption:
        return line
    if corruption["mce"] is None:
        return f"{line}; no mCE: {len(corruption['missing'])} of 15 corruptions are missing or lack severities"
    return f"{line}; mCE {100 * corruption['mce']:.2f} %"
