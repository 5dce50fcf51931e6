"""Reads and truncates `metrics.jsonl`, whose last line may be cut short by a kill or a full disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.files import write_atomically

Columns = dict[str, np.ndarray]  # of one split: name -> float64 [lines]; 'step' is one of the names


def read_columns(path: Path) -> dict[str, Columns]:
    """Returns the columns of each split ('train', 'eval') in file order; missing and null values are NaN."""
    splits: dict[str, list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            record = _parse(line)
            if record is not None:
                splits.setdefault(record["split"], []).append(record)
    return {split: _columns(records) for split, records in splits.items()}


def drop_lines_after(path: Path, step: int) -> None:
    """Removes the lines whose step is greater than `step`, which a continued run will write again."""
    if not path.exists():
        return
    lines = path.read_text().splitlines()
    kept = [line for line in lines if (record := _parse(line)) is not None and record["step"] <= step]
    if len(kept) < len(lines):
        write_atomically(path, "".join(line + "\n" for line in kept))


def _parse(line: str) -> dict[str, Any] | None:
    """Returns the values of a line; None if the line is incomplete."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _columns(records: list[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(name for record in records for name in record if name != "split")
    return {name: np.array([record.get(name) for record in records], np.float64) for name in names}
