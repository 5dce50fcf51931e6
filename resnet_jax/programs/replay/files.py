"""Writes the result of a replay: `replay.json`, `batch.csv`, `layers.csv` and `batch.png`."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.experiment.parts import ShownInputs
from resnet_jax.experiment.replayed_step import LayerReport
from resnet_jax.files import write_atomically, write_json
from resnet_jax.programs.replay.finding import Finding
from resnet_jax.programs.replay.recorded import as_json, mean_scalars, steps_as_json
from resnet_jax.programs.replay.replay import Replay
from resnet_jax.reporting import provenance
from resnet_jax.text import json_numbers
from resnet_jax.training.layer_probe import norms_by_stage

RESULT, ROWS, LAYERS, PICTURE = "replay.json", "batch.csv", "layers.csv", "batch.png"
_COLUMNS = (
    *("row", "position", "index", "file", "class", "label", "height", "width", "top", "left", "crop_height"),
    *("crop_width", "partner_row", "partner_label", "share", "replaced", "not_finite"),
)


def write_result(directory: Path, replayed: Replay, finding: Finding | None) -> None:
    """Writes `replay.json`: the step, its metrics, their comparison with `metrics.jsonl`, and `finding`."""
    steps = {
        step: json_numbers(mean_scalars([totals]) | {"lr": float(totals.lr)})
        for step, totals in sorted(replayed.totals.items())
    }
    content: dict[str, Any] = {
        "step": replayed.step,
        "start": replayed.start,
        "compared": as_json(replayed.window, replayed.compared),
        "compared_steps": steps_as_json(replayed.recorded),
        "gradient_norm_by_stage": json_numbers(norms_by_stage(replayed.parameters.squares)),
        "not_finite": finding and {**finding._asdict(), "largest_before": _number(finding.largest_before)},
        "steps": steps,
        "provenance": provenance.describe_start(replayed.start),
    }
    write_json(directory / RESULT, content)


def write_rows(
    directory: Path,
    replayed: Replay,
    shown: ShownInputs,
    finding: Finding | None,
    *,
    where: Callable[[int], str],
    names: Sequence[str],
) -> None:
    """Writes `batch.csv`, with a line for each image of the batch; crops are in pixels of the stored image.

    Args:
      directory: where the file is written.
      replayed: the replayed step.
      shown: the network's inputs for all images of the batch.
      finding: the images in `finding.rows` get a 1 in the column 'not_finite'; None: all images get a 0.
      where: maps the index of an example to the path of its file.
      names: names of the classes.
    """
    bad, partner_rows = set(finding.rows) if finding else set(), shown.partner_rows
    assert partner_rows is not None
    lines: list[Sequence[Any]] = [_COLUMNS]
    for row, origin in enumerate(replayed.origins):
        share = float(shown.shares[row])
        mixed = (int(partner_rows[row]), int(shown.partners[row])) if share < 1 else ("", "")
        crop = [round(value, 2) for value in origin.crop]
        example = (origin.position, origin.example, where(origin.example), names[origin.label], origin.label)
        replaced = "" if origin.replaced is None else origin.replaced
        size = (origin.height, origin.width)
        lines.append((row, *example, *size, *crop, *mixed, round(share, 6), replaced, int(row in bad)))
    _write_csv(directory / ROWS, lines)


def write_layers(directory: Path, layers: LayerReport) -> None:
    """Writes `layers.csv`, with a line per layer in the order of computation, for the forward and the backward pass.

    A line has the number of images with values that are not finite, the largest finite magnitude over all images, and
    the index in the batch of the image that has it.
    """
    lines: list[Sequence[Any]] = [("pass", "layer", "images_not_finite", "largest_magnitude", "row_of_largest")]
    forward = zip(layers.forward_names, layers.forward, strict=True)
    backward = zip(layers.backward_names[::-1], layers.backward[::-1], strict=True)
    for direction, found in (("forward", forward), ("backward", backward)):
        for name, values in found:
            finite = np.isfinite(values)
            largest = np.where(finite, values, -1.0)
            row = int(np.argmax(largest))
            known = (f"{values[row]:.6g}", row) if finite.any() else ("", "")
            lines.append((direction, name, int((~finite).sum()), *known))
    _write_csv(directory / LAYERS, lines)


def _write_csv(path: Path, lines: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
