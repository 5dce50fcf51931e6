"""The table of runs in TensorBoard's HPARAMS tab: for each run its name, its settings and its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# The settings to show first: TensorBoard shows five settings and five metrics until the user selects others. Some
# versions keep this order; version 2.21 shows settings in which runs differ first, and sorts the others by name.
_FIRST = ("data.name", "model.name", "model.depth", "data.batch_size", "schedule.base_lr")
_METRICS = {
    "eval/top1": "evaluation top-1",
    "eval/top5": "evaluation top-5",
    "eval/loss": "evaluation loss",
    "train/loss": "training loss",
    "train/images_per_second": "images/s",
}


class TableRow(NamedTuple):
    """The row of a run, in the order of its columns."""

    name: str  # name of the run, shown in the first column
    settings: dict[str, bool | int | float | str]  # dotted config key -> value
    metrics: dict[str, str]  # tag of a metric, such as 'eval/top1' -> the name to show


def table_row(name: str, settings: Mapping[str, Any], *, leave_out: Sequence[str] = ()) -> TableRow:
    """Returns the row of a run.

    Args:
      name: name of the run.
      settings: dotted config key -> value; values other than numbers, strings and bools are converted to strings.
      leave_out: tags of metrics that get no column, such as 'eval/top5'.
    """
    plain = {key: v if isinstance(v, bool | int | float | str) else str(v) for key, v in settings.items()}
    keys = [*(key for key in _FIRST if key in plain), *(key for key in plain if key not in _FIRST)]
    metrics = {tag: shown for tag, shown in _METRICS.items() if tag not in leave_out}
    return TableRow(name, {key: plain[key] for key in keys}, metrics)
