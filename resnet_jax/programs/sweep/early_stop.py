"""Decides whether a run of a sweep is hopeless: its accuracy is far below that of finished runs at the same step."""

import math
from collections.abc import Sequence

from resnet_jax.programs.sweep.runs import Run
from resnet_jax.reporting.metrics_file import read_columns
from resnet_jax.reporting.workdir import Workdir


def accuracies(runs: Sequence[Run], num_cells: int) -> list[dict[int, float]]:
    """Returns for each combination of settings a dict seed -> final top-1 accuracy; runs without one are left out."""
    found: list[dict[int, float]] = [{} for _ in range(num_cells)]
    for run in runs:
        value = run.top1()
        if value is not None and math.isfinite(value):
            found[run.cell][run.seed] = value
    return found


def is_behind(run: Run, runs: Sequence[Run], *, points: float) -> bool:
    """Whether the newest evaluation of a run is clearly worse than that of the worst finished run at the same step.

    Args:
      run: a run that is being trained.
      runs: all runs of the sweep.
      points: the top-1 accuracy of `run` must be lower by more than this number of percentage points.
    """
    own = _evaluations(run)
    others = [_evaluations(other) for other in runs if other is not run and other.top1() is not None]
    if not own:
        return False
    step = max(own)
    at_the_step = [found[step] for found in others if step in found]
    return bool(at_the_step) and 100 * own[step] < 100 * min(at_the_step) - points


def _evaluations(run: Run) -> dict[float, float]:
    """Returns step -> top-1 accuracy of the evaluations of a run; values that are not finite are left out."""
    try:
        columns = read_columns(Workdir(run.workdir).metrics).get("eval", {})
    except OSError:
        return {}
    pairs = zip(columns.get("step", ()), columns.get("top1", ()), strict=False)
    return {float(step): float(top1) for step, top1 in pairs if math.isfinite(top1)}
