"""Reads and truncates `metrics.jsonl`, whose last line may be cut short by a kill or a full disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.files import write_atomically

Columns = dict[str, np.ndarray]  # metric name, or 'step', -> float64 array with one value per line


def read_columns(path: Path) -> dict[str, Columns]:
    """Reads `metrics.jsonl` into one array per metric for 'train' and for 'eval'; missing and null values are NaN."""
    splits: dict[str, list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            record = _parse(line)
            if record is not None:
                splits.setdefault(record["split"], []).append(record)
    return {split: _columns(records) for split, records in splits.items()}


def drop_lines_after(path: Path, step: int) -> None:
    """Removes the lines of `metrics.jsonl` after `step`, because a run that continues from `step` writes them again."""
    if not path.exists():
        return
    lines = path.read_text().splitlines()
    kept = [line for line in lines if (record := _parse(line)) is not None and record["step"] <= step]
    if len(kept) < len(lines):
        write_atomically(path, "".join(line + "\n" for line in kept))


def _parse(line: str) -> dict[str, Any] | None:
    """Returns the values of a line of `metrics.jsonl` by name; None if the line is incomplete."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _columns(records: list[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(name for record in records for name in record if name != "split")
    return {name: np.array([record.get(name) for record in records], np.float64) for name in names}
