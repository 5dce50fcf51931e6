"""What a run recorded about its steps, and the comparison with the same steps computed again.

The file `steps.f32` has the loss and the gradient norm of every step; `metrics.jsonl` has means over several steps.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.nested import has_shape
from resnet_jax.reporting.metrics_file import read_columns
from resnet_jax.reporting.step_file import as_numbers, is_known, read_bits
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.training import metrics
from resnet_jax.training.metrics import StepTotals

COMPARED = ("loss", "top1", "grad_norm", "lr")
# Relative differences below this value count as rounding: other devices, another number of devices or another version
# of XLA add numbers in another order. This changes a step by about 1e-7, and the difference grows from step to step.
ROUNDING = 1e-3


class Window(NamedTuple):
    """A line of `metrics.jsonl`: means over some steps, and the learning rate of the last one."""

    first: int  # first step, counted from 1
    last: int  # last step; the value of 'step' in the line
    values: dict[str, float]  # the values of the keys `COMPARED`; NaN if missing or not finite


class Compared(NamedTuple):
    """A recorded value and the same value from the replay."""

    name: str  # one of `COMPARED`
    recorded: float
    replayed: float

    @property
    def is_equal(self) -> bool:
        """Whether the values are equal bit for bit, or neither is finite."""
        return self.recorded == self.replayed or not (math.isfinite(self.recorded) or math.isfinite(self.replayed))

    @property
    def difference(self) -> float:
        """The difference relative to the larger magnitude; infinite if only one of the values is finite."""
        if not self.is_equal and not (math.isfinite(self.recorded) and math.isfinite(self.replayed)):
            return math.inf
        largest = max(abs(self.recorded), abs(self.replayed))
        return 0.0 if self.is_equal else abs(self.recorded - self.replayed) / largest


class ComparedSteps(NamedTuple):
    """Steps of `steps.f32`, compared one by one with the same steps computed again."""

    first: int  # first compared step, counted from 1
    last: int  # last compared step, which is the replayed one
    first_different: int | None  # first step whose loss or gradient norm differs in any bit; None: all are equal
    compared: list[Compared]  # loss and gradient norm of the last step


def is_recorded(workdir: Workdir, step: int) -> bool:
    """Whether `steps.f32` has a step, counted from 1; runs of earlier versions have no such file."""
    bits = read_bits(workdir.steps)
    return len(bits) >= step and bool(is_known(bits)[step - 1])


def compare_steps(workdir: Workdir, totals: Mapping[int, StepTotals], step: int) -> ComparedSteps | None:
    """Compares the computed steps up to `step` with `steps.f32`; returns None if that file does not contain `step`.

    Args:
      workdir: the work directory of the run.
      totals: step, counted from 1 -> its totals on the host.
      step: the replayed step.
    """
    if not is_recorded(workdir, step):
        return None
    bits = read_bits(workdir.steps)
    known, numbers = is_known(bits), as_numbers(bits)
    steps = [number for number in sorted(totals) if number <= step and known[number - 1]]
    found = {number: _compare_step(numbers[number - 1], totals[number]) for number in steps}
    different = (number for number in steps if not all(one.is_equal for one in found[number]))
    return ComparedSteps(steps[0], step, next(different, None), found[step])


def _compare_step(recorded: np.ndarray, totals: StepTotals) -> list[Compared]:
    """Compares the recorded [sum of the losses of the batch, gradient norm], float32, with the totals of the step."""
    loss, grad_norm = recorded.tolist()
    images = max(1, int(totals.examples.count))  # the count is 0 if the update was skipped because of overflow
    return [
        Compared("loss", loss / images, float(totals.examples.loss) / images),
        Compared("grad_norm", grad_norm, float(totals.grad_norm)),
    ]


def find_window(workdir: Workdir, step: int) -> Window | None:
    """Returns the line of `metrics.jsonl` that covers `step`, else the last line before that step, else None.

    A line covers the steps since the previous line, or, if the run was stopped in between, since the step from which
    the run continued.
    """
    if not workdir.metrics.exists():
        return None
    columns = read_columns(workdir.metrics).get("train", {})
    steps = [int(number) for number in columns.get("step", ())]
    covering = [number for number in steps if number >= step] or steps[-1:]
    if not covering:
        return None
    last = covering[0]
    earlier = [number for number in steps if number < last]
    begun = [start["start_step"] for start in workdir.starts() if has_shape(start, {"start_step": int})]
    begun = [start for start in begun if start < last]  # `last` was computed after the last of these starts
    first = 1 + max([*earlier[-1:], *begun[-1:], 0])
    row = steps.index(last)
    return Window(first, last, {name: _value(columns, name, row) for name in COMPARED})


def _value(columns: Mapping[str, np.ndarray], name: str, row: int) -> float:
    return float(columns[name][row]) if name in columns else math.nan


def compare(window: Window, totals: Mapping[int, StepTotals]) -> list[Compared]:
    """Compares a window with the totals of its steps.

    The means are computed as in `reporting/run_log.py`, so that equal totals give means that are equal bit for bit.

    Args:
      window: the line of `metrics.jsonl`.
      totals: step, counted from 1 -> its totals on the host. If a step of the window is missing, only the learning
        rate is compared, because the window has the learning rate of its last step and not a mean.
    """
    steps = range(window.first, window.last + 1)
    replayed: dict[str, float] = {}
    if all(step in totals for step in steps):
        replayed |= mean_scalars([totals[step] for step in steps])
    if window.last in totals:
        replayed["lr"] = float(totals[window.last].lr)
    return [Compared(name, window.values[name], replayed[name]) for name in COMPARED if name in replayed]


def mean_scalars(steps: Sequence[StepTotals]) -> dict[str, float]:
    """Returns the means of loss, top-1 accuracy (0 to 1) and gradient norm over some steps, as in `metrics.jsonl`."""
    sums, norms, updates = metrics.zero(), 0.0, 0
    for totals in steps:
        sums = metrics.merge(sums, totals.examples)
        norms += float(totals.grad_norm)
        updates += int(totals.examples.count > 0)
    scalars = metrics.scalars(sums)
    grad_norm = norms / updates if updates else math.nan
    return {"loss": scalars["loss"], "top1": scalars["top1"], "grad_norm": grad_norm}


def as_json(window: Window | None, compared: Sequence[Compared]) -> dict[str, Any] | None:
    """Returns the comparison with `metrics.jsonl` as JSON values; None if there is no line to compare with."""
    if window is None:
        return None
    return {"first_step": window.first, "last_step": window.last, "values": _values(compared)}


def steps_as_json(steps: ComparedSteps | None) -> dict[str, Any] | None:
    """Returns the comparison with `steps.f32` as JSON values; None if there is no comparison."""
    if steps is None:
        return None
    span = {"first_step": steps.first, "last_step": steps.last, "first_different_step": steps.first_different}
    return {**span, "values": _values(steps.compared)}


def _values(compared: Sequence[Compared]) -> dict[str, Any]:
    return {
        one.name: {
            "recorded": _finite(one.recorded),
            "replayed": _finite(one.replayed),
            "equal": one.is_equal,
            "relative_difference": _finite(one.difference),
        }
        for one in compared
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
