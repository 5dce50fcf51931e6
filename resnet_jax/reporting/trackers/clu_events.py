"""Event files for TensorBoard, written with the summary writer of CLU (Common Loop Utils), which needs TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_jax.optional_tensorflow import import_tensorflow
from resnet_jax.reporting.hyperparameters import TableRow, table_row
from resnet_jax.reporting.trackers.tracker import TrackedRun, Tracker


def open_tracker(run: TrackedRun) -> Tracker:
    """Opens a new event file in the work directory; if the run is new, writes its row of the HPARAMS table."""
    import_tensorflow()
    from clu import metric_writers  # noqa: PLC0415  imports TensorFlow

    writer = metric_writers.SummaryWriter(str(run.directory))
    if run.start_step == 0:
        _write_table_row(writer, table_row(run.name, run.settings, leave_out=run.leave_out))
    return _CluWriter(writer)


class _CluWriter(Tracker):
    """A tracker that writes one event file with CLU."""

    def __init__(self, writer: Any):
        self._writer = writer

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._writer.write_scalars(step, values)

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """See `Tracker`."""
        self._writer.write_images(step, {tag: pixels})

    def close(self, *, failed: bool) -> None:  # noqa: ARG002  TensorBoard does not show how a run ended
        """See `Tracker`."""
        self._writer.flush()
        self._writer.close()


def _write_table_row(writer: Any, row: TableRow) -> None:
    """Writes the row of a run in the HPARAMS tab.

    CLU's own `write_hparams` is not used: it names the run by a hash and orders the columns by name.
    """
    from tensorboard.plugins.hparams import api  # noqa: PLC0415

    metrics = [api.Metric(tag, display_name=shown) for tag, shown in row.metrics.items()]
    columns = api.hparams_config_pb(hparams=[api.HParam(key) for key in row.settings], metrics=metrics)
    for summary in (columns, api.hparams_pb(row.settings, trial_id=row.name)):
        (value,) = summary.value  # the HPARAMS tab reads the metadata of the only value
        writer.write_summaries(0, {value.tag: np.zeros(0, np.float32)}, {value.tag: value.metadata})
