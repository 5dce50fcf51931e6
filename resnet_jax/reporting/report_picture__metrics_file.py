"""Reads `metrics.jsonl`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Columns = dict[str, np.ndarray]  # float64 [lines] by name, of one split; 'step' among them


def read_columns(path: Path) -> dict[str, Columns]:
    """The numbers of each split ('train', 'eval'), in order; NaN where a line has null, or not that name."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for record in _records(path):
        lines.setdefault(record["split"], []).append(record)
    return {split: _columns(records) for split, records in lines.items()}


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """What each line says, without those that a kill or a full disk cut short."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(record, dict):
                yield record


def _columns(records: list[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(name for record in records for name in record if name != "split")
    return {name: np.array([record.get(name) for record in records], np.float64) for name in names}
