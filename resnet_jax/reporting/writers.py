"""Writes metrics to `metrics.jsonl` and, where TensorFlow is installed, to TensorBoard through CLU."""

import functools
import importlib.util
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from resnet_jax.optional_tensorflow import import_tensorflow
from resnet_jax.reporting.hyperparameters import write_table_row
from resnet_jax.text import json_numbers, labelled

logger = logging.getLogger(__name__)


class Writers:
    """Writes the metrics of a run, on process 0 only. A context manager: leaving it flushes and closes the files."""

    def __init__(self, lines: Path, *, tensorboard_dir: Path | None):
        """Opens the files.

        Args:
          lines: JSON Lines file to append to.
          tensorboard_dir: directory for TensorBoard event files; None writes none.
        """
        self._lines = lines.open("a", buffering=1)
        self._tensorboard = _TensorBoard(tensorboard_dir) if tensorboard_dir and _tensorboard_installed() else None

    @property
    def shows_images(self) -> bool:
        """Whether the method `image` writes anything: images are written for TensorBoard only."""
        return self._tensorboard is not None

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        if self._tensorboard:
            self._tensorboard.close()

    def scalars(self, step: int, split: str, scalars: Mapping[str, float]) -> None:
        """Writes the scalars of a split ('train' or 'eval') as one line of JSON, with null for NaN and infinity."""
        self._lines.write(json.dumps({"step": step, "split": split, **json_numbers(scalars)}) + "\n")
        if self._tensorboard:
            self._tensorboard.write("write_scalars", step, _curves(split, scalars))

    def hyperparameters(self, name: str, values: Mapping[str, Any], *, leave_out: Sequence[str] = ()) -> None:
        """Writes a row of TensorBoard's HPARAMS tab: name of the run, settings by dotted key; see `write_table_row`."""
        if self._tensorboard:
            self._tensorboard.call(functools.partial(write_table_row, name=name, values=values, leave_out=leave_out))

    def image(self, step: int, name: str, draw: Callable[[], np.ndarray]) -> None:
        """Writes the image [H, W, 3] uint8 that `draw` returns to TensorBoard; calls `draw` in a thread."""
        if self._tensorboard:
            self._tensorboard.call(lambda writer: writer.write_images(step, {name: draw()}))


class _TensorBoard:
    """Runs CLU's summary writer in a thread: TensorFlow loads during compilation, and training steps do not wait.

    After a call has failed the writer is not used again: TensorFlow prints several lines for each further failure.
    """

    def __init__(self, directory: Path):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tensorboard")
        self._writer = self._thread.submit(_open_summary_writer, directory)
        self._writes: list[Future] = []
        self._has_failed = False

    def write(self, method: str, *values: Any) -> None:
        """Schedules the call of a method of CLU's summary writer. If an earlier call failed, raises its error."""
        self.call(lambda writer: getattr(writer, method)(*values))

    def call(self, function: Callable[[Any], None]) -> None:
        """Schedules a call of `function` with CLU's summary writer. If an earlier call failed, raises its error."""
        self._check(wait=False)
        self._writes.append(self._thread.submit(self._run, function))

    def _run(self, function: Callable[[Any], None]) -> None:
        """Calls `function` with CLU's summary writer; does nothing if an earlier call has failed. For the thread."""
        if self._has_failed:
            return
        try:
            function(self._writer.result())
        except BaseException:
            self._has_failed = True
            raise

    def close(self) -> None:
        """Waits for all scheduled calls and closes the event files. If a call failed, raises its error."""
        try:
            self.write("flush")
            self._check(wait=True)
            self.write("close")
            self._check(wait=True)
        finally:
            self._thread.shutdown()

    def _check(self, *, wait: bool) -> None:
        done = [write for write in self._writes if wait or write.done()]
        self._writes = [write for write in self._writes if write not in done]
        for write in done:
            write.result()


def _curves(split: str, scalars: Mapping[str, float]) -> dict[str, float]:
    """Returns the scalars that are worth a curve in TensorBoard, by tag."""
    # 'count', the number of evaluation images, is constant; NaN stands for a value that is not known.
    return {f"{split}/{name}": v for name, v in scalars.items() if name != "count" and not math.isnan(v)}


def _tensorboard_installed() -> bool:
    missing = [name for name in ("tensorflow", "tensorboard") if importlib.util.find_spec(name) is None]
    if missing:
        cure = "pip install -e '.[tensorboard]'"
        logger.info(labelled("tensorboard", f"no event files: {missing[0]} not installed ({cure})"))
    return not missing


def _open_summary_writer(directory: Path) -> Any:
    import_tensorflow()
    from clu import metric_writers  # noqa: PLC0415  imports TensorFlow

    return metric_writers.SummaryWriter(str(directory))
