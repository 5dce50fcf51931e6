"""The result of a check of the data, as a table for the log and as JSON."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from resnet_jax.data.examination import UNUSUAL
from resnet_jax.data.sources import Source
from resnet_jax.experiment import CheckedData
from resnet_jax.programs.check_data.findings import Findings, class_counts, tiny_side
from resnet_jax.programs.check_data.survey import UNKNOWN, Survey
from resnet_jax.text import labelled, labelled_lines, printable

_LISTED = 10_000  # maximum number of images in the JSON for each problem


def as_lines(data: CheckedData, surveys: Mapping[str, Survey], found: Findings) -> list[str]:
    """Returns the lines for the log: a table with a column for each split, then problems and notes."""
    rows = _rows(data, found)
    table = [["", *surveys]]
    table += [[name, *(cell(split, one) for split, one in surveys.items())] for name, cell in rows.items()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines = labelled_lines("data", [f"{one.name}: {len(one.labels):,} images" for one in surveys.values()]) + lines
    lines += [labelled("problem", text) for text in found.problems]
    lines += [labelled("note", text) for text in found.notes]
    if not found.problems:
        lines.append(labelled("result", "nothing was found that would harm training"))
    return lines


def _rows(data: CheckedData, found: Findings) -> dict[str, Callable[[str, Survey], str]]:
    """Returns the rows of the table: title -> function that returns a cell from the name of a split and its survey."""
    return {
        "classes with images": lambda _, one: f"{np.count_nonzero(class_counts(data, one)):,}",
        "images of a class": lambda _, one: _fewest_and_most(data, one),
        "labels": lambda _, one: _range(one.labels[one.labels != UNKNOWN]),
        "labels out of range": lambda _, one: f"{len(one.mislabeled):,}",
        "unreadable": lambda _, one: f"{len(one.unreadable):,}",
        **{kind: _counted(kind) for kind in UNUSUAL},
        f"a side below {tiny_side(data.image_size):g} pixels": lambda split, _: f"{len(found.tiny[split]):,}",
        "above 50 megapixels": lambda split, _: f"{len(found.huge[split]):,}",
        "copies of an image": lambda split, _: f"{len(found.duplicates[split].within):,}",
        "copies in another class": lambda split, _: f"{len(found.duplicates[split].other_class):,}",
        "also in training": lambda split, _: f"{len(found.shared):,}" if split == "eval" else "",
        "smallest height x width": lambda _, one: _sizes(one)[0],
        "median height, width": lambda _, one: _sizes(one)[1],
        "largest height x width": lambda _, one: _sizes(one)[2],
        "mean of R, G, B": lambda _, one: _numbers(one.mean),
        "deviation of R, G, B": lambda _, one: _numbers(one.deviation),
        "input.mean, input.std": lambda split, _: (
            f"{_numbers(data.mean)}; {_numbers(data.std)}" if split == "train" else ""
        ),
        "images/s": lambda _, one: f"{_per_second(one, len(one.labels)):,.0f}",
        "MB/s": lambda _, one: f"{_per_second(one, one.num_bytes) / 1e6:,.1f}",
    }


def _counted(kind: str) -> Callable[[str, Survey], str]:
    return lambda _, one: f"{len(one.unusual.get(kind, ())):,}"


def _fewest_and_most(data: CheckedData, one: Survey) -> str:
    counts, names = class_counts(data, one), data.train.class_names
    least, most = int(counts.argmin()), int(counts.argmax())
    named = [printable(names[label]) if label < len(names) else f"class {label}" for label in (least, most)]
    return f"{counts[least]:,} ({named[0]}) to {counts[most]:,} ({named[1]})"


def _range(values: np.ndarray) -> str:
    return f"{values.min()} to {values.max()}" if len(values) else "none"


def _sizes(one: Survey) -> tuple[str, str, str]:
    """Returns the size of the smallest image, the median height and width, and the size of the largest image."""
    sizes = one.sizes[one.readable]
    if not len(sizes):
        return "none", "none", "none"
    pixels = sizes.prod(axis=1)
    shown = (sizes[pixels.argmin()], np.median(sizes, axis=0).astype(int), sizes[pixels.argmax()])
    smallest, median, largest = (f"{height:,} x {width:,}" for height, width in shown)
    return smallest, median, largest


def _numbers(values: Sequence[float] | np.ndarray) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def _per_second(one: Survey, count: int) -> float:
    return count / max(one.seconds, 1e-9)


def as_json(data: CheckedData, surveys: Mapping[str, Survey], found: Findings) -> dict[str, Any]:
    """Returns the result as JSON values: for each problem, where up to 10,000 of the affected images are stored."""
    sources = {"train": data.train, "eval": data.evaluation}
    return {
        "problems": found.problems,
        "notes": found.notes,
        "class_names": list(data.train.class_names),
        **{split: _split(data, sources[split], one, split, found) for split, one in surveys.items()},
        "also_in_training": {
            "count": len(found.shared),
            "images": [[data.evaluation.where(row), data.train.where(other)] for row, other in found.shared[:_LISTED]],
        },
    }


def _split(data: CheckedData, source: Source, one: Survey, split: str, found: Findings) -> dict[str, Any]:
    known = one.labels[one.labels != UNKNOWN]
    copies, sizes = found.duplicates[split], one.sizes[one.readable]
    return {
        "name": one.name,
        "images": len(one.labels),
        "images_of_class": class_counts(data, one).tolist(),
        "labels": [int(known.min()), int(known.max())] if len(known) else None,
        "labels_out_of_range": _errors(source, one.mislabeled),
        "unreadable": _errors(source, one.unreadable),
        "unusual": {kind: _listed(source, one.unusual.get(kind, [])) for kind in UNUSUAL},
        "tiny": _listed(source, found.tiny[split]),
        "huge": _listed(source, found.huge[split]),
        "copies": _pairs(source, copies.within),
        "copies_in_another_class": _pairs(source, copies.other_class),
        "height": _quantiles(sizes[:, 0]),
        "width": _quantiles(sizes[:, 1]),
        "mean": one.mean.tolist(),
        "deviation": one.deviation.tolist(),
        "bytes": one.num_bytes,
        "seconds": one.seconds,
        "images_per_second": _per_second(one, len(one.labels)),
        "bytes_per_second": _per_second(one, one.num_bytes),
    }


def _errors(source: Source, errors: Mapping[int, str]) -> dict[str, Any]:
    listed = list(errors.items())[:_LISTED]
    return {"count": len(errors), "images": [{"where": source.where(row), "error": text} for row, text in listed]}


def _listed(source: Source, rows: Sequence[int]) -> dict[str, Any]:
    return {"count": len(rows), "images": [source.where(row) for row in rows[:_LISTED]]}


def _pairs(source: Source, pairs: Sequence[tuple[int, int]]) -> dict[str, Any]:
    return {"count": len(pairs), "images": [[source.where(row), source.where(other)] for row, other in pairs[:_LISTED]]}


def _quantiles(values: np.ndarray) -> dict[str, int] | None:
    """Returns the smallest, the median and the largest value; None if there are no values."""
    if not len(values):
        return None
    return {"smallest": int(values.min()), "median": int(np.median(values)), "largest": int(values.max())}
