"""Finds the first step at which the losses or gradient norms of two runs differ.

A run records both for each step in `steps.f32`, and their means over several steps in `metrics.jsonl`.
"""

from typing import NamedTuple

import numpy as np

from resnet_jax.programs.difference.runs import Run
from resnet_jax.reporting.step_file import as_numbers, is_known


class Parting(NamedTuple):
    """The steps `first` to `last`, counted from 1, at one of which loss or gradient norm of two runs first differ."""

    first: int  # loss and gradient norm are equal in all recorded steps before this one
    last: int  # first recorded step that differs; without `steps.f32`, first line of `metrics.jsonl` that differs
    losses: tuple[float, float]  # mean loss of each run in step `last`, or in the line of `metrics.jsonl` of that step
    grad_norms: tuple[float, float]
    compared: int  # number of steps that both runs have recorded; without `steps.f32`, the last of these steps

    @property
    def is_exact(self) -> bool:
        """Whether the first step that differs is known exactly."""
        return self.first == self.last


class Together(NamedTuple):
    """Two runs with equal losses and gradient norms in all steps that both have recorded."""

    compared: int  # last step that both runs have recorded; if `exact`, also the number of these steps; 0: none
    exact: bool  # True if every step was compared bit for bit, False if only some steps or means over several


def find_parting(first: Run, second: Run, *, batch_sizes: tuple[int, int]) -> Parting | Together:
    """Returns the first step at which loss or gradient norm differ; `Together` if they never do.

    Compares the values of each step in `steps.f32`, or, if a run has no such file, the means in `metrics.jsonl`.

    Args:
      first: a run.
      second: another run.
      batch_sizes: batch size of each run, by which the recorded sums of losses are divided.
    """
    count = min(len(first.bits), len(second.bits))
    known = is_known(first.bits[:count]) & is_known(second.bits[:count])
    if not known.any():
        return _from_lines(first, second)
    scaled = [_scaled(run.bits[:count], size) for run, size in zip((first, second), batch_sizes, strict=True)]
    one, other = scaled
    # For equal batch sizes, these numbers are equal if and only if the recorded bits are. Two NaNs count as equal.
    differs = known & ~((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=1)
    steps = np.flatnonzero(differs)
    if not len(steps):
        return Together(int(known.sum()), exact=bool(known.all()))
    row = int(steps[0])
    earlier = np.flatnonzero(known[:row])
    # Steps between the last equal one and `row` were not recorded: the first difference may be at any of them.
    begin = int(earlier[-1]) + 1 if len(earlier) else 0
    losses, norms = ((float(one[row, column]), float(other[row, column])) for column in (0, 1))
    return Parting(begin + 1, row + 1, losses, norms, int(known.sum()))


def _scaled(bits: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns mean loss and gradient norm of each step, [N, 2] float64."""
    return as_numbers(np.ascontiguousarray(bits)).astype(np.float64) / np.array([batch_size, 1.0])


def _from_lines(first: Run, second: Run) -> Parting | Together:
    """Compares the `metrics.jsonl` of both runs, in the lines of the steps that both have."""
    rows = [{int(step): row for row, step in enumerate(run.lines.get("step", ()))} for run in (first, second)]
    equal_until = 0
    common = sorted(rows[0].keys() & rows[1].keys())
    for step in common:
        values = [
            [float(run.lines[name][own[step]]) if name in run.lines else np.nan for name in ("loss", "grad_norm")]
            for run, own in zip((first, second), rows, strict=True)
        ]
        (loss, norm), (other_loss, other_norm) = values
        if not np.array_equal(values[0], values[1], equal_nan=True):
            return Parting(equal_until + 1, step, (loss, other_loss), (norm, other_norm), common[-1])
        equal_until = step
    return Together(equal_until, exact=False)
