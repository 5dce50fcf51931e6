"""The table of runs in TensorBoard's HPARAMS tab: for each run its name, its settings and its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# TensorBoard shows the first five settings and the first five metrics of each run; the user can select the others.
_FIRST = ("data.name", "model.name", "model.depth", "data.batch_size", "schedule.base_lr")
_METRICS = {
    "eval/top1": "evaluation top-1",
    "eval/top5": "evaluation top-5",
    "eval/loss": "evaluation loss",
    "train/loss": "training loss",
    "train/images_per_second": "images/s",
}


def write_table_row(writer: Any, name: str, values: Mapping[str, Any], *, leave_out: Sequence[str] = ()) -> None:
    """Writes the row of a run, and the order of the columns; loads TensorFlow.

    Args:
      writer: CLU's `SummaryWriter`; its own `write_hparams` names the run by a hash and orders the settings by name.
      name: name of the run, shown in the first column.
      values: settings by dotted key; those that are not numbers, text or bool are shown as text.
      leave_out: metrics without a column, such as 'eval/top5'.
    """
    from tensorboard.plugins.hparams import api  # noqa: PLC0415

    plain = {key: v if isinstance(v, bool | int | float | str) else str(v) for key, v in values.items()}
    keys = [*(key for key in _FIRST if key in plain), *(key for key in plain if key not in _FIRST)]
    metrics = [api.Metric(tag, display_name=shown) for tag, shown in _METRICS.items() if tag not in leave_out]
    columns = api.hparams_config_pb(hparams=[api.HParam(key) for key in keys], metrics=metrics)
    for summary in (columns, api.hparams_pb(plain, trial_id=name)):
        (value,) = summary.value  # the HPARAMS tab stores everything in the metadata of a single value
        writer.write_summaries(0, {value.tag: np.zeros(0, np.float32)}, {value.tag: value.metadata})
