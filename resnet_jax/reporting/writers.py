"""Where metrics go: `metrics.jsonl` always, TensorBoard through CLU where TensorFlow is installed."""

import importlib.util
import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from resnet_jax.optional_tensorflow import import_tensorflow
from resnet_jax.training import metrics

logger = logging.getLogger(__name__)


class Writers:
    """Writes the metrics of a run. A context manager: leaving it flushes. For process 0 alone."""

    def __init__(self, lines: Path, *, tensorboard_dir: Path | None):
        """Opens the files.

        Args:
          lines: the file that JSON lines are added to.
          tensorboard_dir: where event files go; None: none are written.
        """
        self._lines = lines.open("a", buffering=1)
        self._tensorboard = _TensorBoard(tensorboard_dir) if tensorboard_dir and _tensorboard_installed() else None

    @property
    def shows_images(self) -> bool:
        """Whether `images` does anything."""
        return self._tensorboard is not None

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        if self._tensorboard:
            self._tensorboard.close()

    def scalars(self, step: int, split: str, scalars: Mapping[str, float]) -> None:
        """Writes one line; a number that is not finite becomes null, for JSON has no NaN."""
        self._lines.write(json.dumps({"step": step, "split": split, **metrics.finite(scalars)}) + "\n")
        if self._tensorboard:
            self._tensorboard.write("write_scalars", step, {f"{split}/{name}": v for name, v in scalars.items()})

    def hyperparameters(self, values: Mapping[str, Any]) -> None:
        """Writes a flat dict of settings to TensorBoard's HPARAMS tab."""
        if self._tensorboard:
            plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()}
            self._tensorboard.write("write_hparams", plain)

    def images(self, step: int, name: str, images: np.ndarray) -> None:
        """Writes [N, H, W, 3] uint8 to TensorBoard."""
        if self._tensorboard:
            self._tensorboard.write("write_images", step, {name: images})


class _TensorBoard:
    """CLU's summary writer in a thread of its own: TensorFlow loads while XLA compiles, and no step waits."""

    def __init__(self, directory: Path):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tensorboard")
        self._writer = self._thread.submit(_open_summary_writer, directory)
        self._writes: list[Future] = []

    def write(self, method: str, *values: Any) -> None:
        """Calls a method of the writer later. Raises what an earlier call raised."""
        self._check(wait=False)
        self._writes.append(self._thread.submit(lambda: getattr(self._writer.result(), method)(*values)))

    def close(self) -> None:
        """Waits for all that was written. Raises what a call raised."""
        try:
            self.write("flush")
            self._check(wait=True)
            self._writer.result().close()
        finally:
            self._thread.shutdown()

    def _check(self, *, wait: bool) -> None:
        done = [write for write in self._writes if wait or write.done()]
        self._writes = [write for write in self._writes if write not in done]
        for write in done:
            write.result()


def _tensorboard_installed() -> bool:
    missing = [name for name in ("tensorflow", "tensorboard") if importlib.util.find_spec(name) is None]
    if missing:
        logger.info("tensorboard  no event files: %s not installed (pip install -e '.[tensorboard]')", missing[0])
    return not missing


def _open_summary_writer(directory: Path):
    import_tensorflow()
    from clu import metric_writers  # noqa: PLC0415  imports TensorFlow

    return metric_writers.SummaryWriter(str(directory))
