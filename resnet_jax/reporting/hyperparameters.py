"""Makes the row of a run in the table of TensorBoard's HPARAMS tab: its name, its config values and its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Config keys of the first columns. TensorBoard shows five config keys and five metrics until the user selects others.
# Some versions keep this order; version 2.21 first shows the keys in which runs differ, then the others by name.
_FIRST = ("data.name", "model.name", "model.depth", "data.batch_size", "schedule.base_lr")
_METRICS = {
    "eval/top1": "evaluation top-1",
    "eval/top5": "evaluation top-5",
    "eval/loss": "evaluation loss",
    "train/loss": "training loss",
    "train/images_per_second": "images/s",
}


class TableRow(NamedTuple):
    """The row of a run in the table; the order of the dict entries is that of the columns."""

    name: str  # name of the run, shown in the first column
    settings: dict[str, bool | int | float | str]  # dotted config key -> value
    metrics: dict[str, str]  # tag of a metric, such as 'eval/top1' -> the name to show


def table_row(name: str, settings: Mapping[str, Any], *, leave_out: Sequence[str] = ()) -> TableRow:
    """Returns the row of a run in the table.

    Args:
      name: name of the run.
      settings: dotted config key -> value; values other than numbers, strings and bools are converted to strings.
      leave_out: tags of metrics that get no column, such as 'eval/top5'.
    """
    plain = {key: v if isinstance(v, bool | int | float | str) else str(v) for key, v in settings.items()}
    keys = [*(key for key in _FIRST if key in plain), *(key for key in plain if key not in _FIRST)]
    metrics = {tag: shown for tag, shown in _METRICS.items() if tag not in leave_out}
    return TableRow(name, {key: plain[key] for key in keys}, metrics)
