"""Event files for TensorBoard, written with TensorBoard's own record writer, which needs no TensorFlow."""

import io
import os
import socket
import time
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from resnet_jax.reporting.hyperparameters import TableRow, table_row
from resnet_jax.reporting.trackers.tracker import TrackedRun, Tracker


def open_tracker(run: TrackedRun) -> Tracker:
    """Opens a new event file in the work directory; if the run is new, writes its row of the HPARAMS table."""
    # TensorBoard finds event files by 'tfevents' in the name and reads them in the order of the names. With process id
    # and monotonic time, files that are created in the same second have different names.
    now = time.time()
    name = f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
    events = _EventFile((run.directory / name).open("xb"))
    if run.start_step == 0:
        events.table_row(table_row(run.name, run.settings, leave_out=run.leave_out))
    return events


class _EventFile(Tracker):
    """A tracker that writes one event file, with the same content as the summary writer of TensorFlow 2."""

    def __init__(self, file: IO[bytes]):
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2  # noqa: PLC0415
        from tensorboard.plugins.image import metadata as image_metadata  # noqa: PLC0415
        from tensorboard.plugins.scalar import metadata as scalar_metadata  # noqa: PLC0415
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415

        self._records, self._event, self._summaries = RecordWriter(file), event_pb2.Event, summary_pb2
        self._tensor, self._types = tensor_pb2.TensorProto, types_pb2
        self._of_scalars = scalar_metadata.create_summary_metadata(display_name="", description="")
        self._of_images = image_metadata.create_summary_metadata(display_name="", description="")
        self._write(file_version="brain.Event:2")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        tensors = {tag: self._tensor(dtype=self._types.DT_FLOAT, float_val=[v]) for tag, v in values.items()}
        self._write_values(
            step, [{"tag": tag, "tensor": tensor, "metadata": self._of_scalars} for tag, tensor in tensors.items()]
        )

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """See `Tracker`."""
        height, width, _ = pixels.shape
        tensor = self._tensor(
            dtype=self._types.DT_STRING,
            tensor_shape={"dim": [{"size": 3}]},
            string_val=[str(width).encode(), str(height).encode(), _png(pixels)],
        )
        self._write_values(step, [{"tag": tag, "tensor": tensor, "metadata": self._of_images}])

    def table_row(self, row: TableRow) -> None:
        """Writes the row of a run in the HPARAMS tab, which reads it from the metadata of two summary values."""
        from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2  # noqa: PLC0415

        start = plugin_data_pb2.SessionStartInfo(group_name=row.name, start_time_secs=time.time())
        for key, setting in row.settings.items():
            kind = "bool" if isinstance(setting, bool) else "string" if isinstance(setting, str) else "number"
            setattr(start.hparams[key], f"{kind}_value", setting)
        metrics = [
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=shown)
            for tag, shown in row.metrics.items()
        ]
        columns = api_pb2.Experiment(
            hparam_infos=[api_pb2.HParamInfo(name=key) for key in row.settings], metric_infos=metrics
        )
        for name, content in {"experiment": columns, "session_start_info": start}.items():
            serialized = plugin_data_pb2.HParamsPluginData(**{name: content}).SerializeToString()
            plugin = self._summaries.SummaryMetadata.PluginData(plugin_name="hparams", content=serialized)
            metadata = self._summaries.SummaryMetadata(plugin_data=plugin)
            self._write_values(0, [{"tag": f"_hparams_/{name}", "metadata": metadata}])

    def close(self, *, failed: bool) -> None:  # noqa: ARG002  TensorBoard does not show how a run ended
        """See `Tracker`."""
        self._records.close()

    def _write_values(self, step: int, values: list[dict[str, Any]]) -> None:
        summary = self._summaries.Summary(value=[self._summaries.Summary.Value(**value) for value in values])
        self._write(step=step, summary=summary)

    def _write(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image  # noqa: PLC0415

    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "png")
    return encoded.getvalue()
