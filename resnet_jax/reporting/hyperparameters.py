"""The table of runs in TensorBoard's HPARAMS tab: for each run its name, its settings and its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# The first columns, where TensorBoard keeps their order: version 2.21 sorts settings by name, after those in which runs
# differ. It shows five settings and five metrics; the user can select the others.
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
    settings: dict[str, bool | int | float | str]  # by dotted key
    metrics: dict[str, str]  # tag of a metric -> its name as shown


def table_row(name: str, settings: Mapping[str, Any], *, leave_out: Sequence[str] = ()) -> TableRow:
    """Returns the row of a run.

    Args:
      name: name of the run.
      settings: settings by dotted key; those that are not numbers, text or bool are shown as text.
      leave_out: metrics without a column, such as 'eval/top5'.
    """
    plain = {key: v if isinstance(v, bool | int | float | str) else str(v) for key, v in settings.items()}
    keys = [*(key for key in _FIRST if key in plain), *(key for key in plain if key not in _FIRST)]
    metrics = {tag: shown for tag, shown in _METRICS.items() if tag not in leave_out}
    return TableRow(name, {key: plain[key] for key in keys}, metrics)
