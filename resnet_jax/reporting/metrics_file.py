"""Reads and truncates `metrics.jsonl`, whose last line may be cut short by a kill or a full disk."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.files import set_aside_as_damaged, write_atomically
from resnet_jax.nested import has_shape

logger = logging.getLogger(__name__)

Columns = dict[str, np.ndarray]  # metric name, or 'step', -> float64 array with one value per line


def read_columns(path: Path) -> dict[str, Columns]:
    """Reads `metrics.jsonl`: for 'train' and for 'eval', one array per metric. Missing and null values are NaN."""
    splits: dict[str, list[dict[str, Any]]] = {}
    with path.open("rb") as file:
        for line in file:
            record = _parse(line)
            if record is not None and has_shape(record, {"split": str}):
                splits.setdefault(record["split"], []).append(record)
    return {split: _columns(records) for split, records in splits.items()}


def drop_lines_after(path: Path, step: int) -> None:
    """Removes the lines of `metrics.jsonl` for later steps: a run that continues from `step` writes them again.

    Damaged lines are removed too. A killed process may leave an incomplete last line; if any other line is damaged, the
    old file is kept as `metrics.jsonl.damaged` and a warning is logged.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    lines = content.splitlines()
    records = [_parse(line) for line in lines]
    kept = [line for line, record in zip(lines, records, strict=True) if record is not None and record["step"] <= step]
    num_damaged = sum(record is None for record in records[:-1])
    if num_damaged:
        aside = set_aside_as_damaged(path)
        logger.warning("%d lines of %s are damaged: they are left out; the old file is %s", num_damaged, path, aside)
    if num_damaged or content != b"".join(line + b"\n" for line in kept):
        write_atomically(path, b"".join(line + b"\n" for line in kept))


def _parse(line: bytes) -> dict[str, Any] | None:
    """Returns the values of a line of `metrics.jsonl` by name; None if the line is incomplete or damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if has_shape(record, {"step": (int, _is_finite)}) else None


def _columns(records: list[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(name for record in records for name in record if name != "split")
    return {name: np.array([_number(record.get(name)) for record in records], np.float64) for name in names}


def _number(value: Any) -> float:
    """Returns the value of a metric as a number; NaN if it is null or no number."""
    try:
        return float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        return math.nan


def _is_finite(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)
