"""Writes metrics to `metrics.jsonl` and `steps.f32`, and passes them to the trackers of the run."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from resnet_jax.reporting.step_file import StepFile
from resnet_jax.reporting.trackers.background import BackgroundTracker
from resnet_jax.text import json_numbers


class Writers:
    """Writes the metrics of a run, on process 0 only. It is a context manager, which closes files and trackers."""

    def __init__(self, lines: Path, trackers: Sequence[BackgroundTracker] = (), *, steps: Path | None = None):
        """Opens the files.

        Args:
          lines: path of `metrics.jsonl`, to which lines are appended.
          trackers: trackers that receive the metrics too.
          steps: path of the file with loss and gradient norm of each step (`step_file.py`); None: it is not written.
        """
        self._steps = None if steps is None else StepFile(steps)
        self._lines = lines.open("a", buffering=1)
        self._trackers = tuple(trackers)

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        if self._steps is not None:
            self._steps.close()
        for tracker in self._trackers:
            tracker.close(failed=error is not None)

    def step(self, step: int, loss: float, grad_norm: float) -> None:
        """Records a training step, counted from 1: the sum of the losses of its batch, and its gradient norm."""
        if self._steps is not None:
            self._steps.add(step, loss, grad_norm)

    def scalars(self, step: int, split: str, scalars: Mapping[str, float]) -> None:
        """Writes the scalars of a split ('train' or 'eval') as one line of JSON, with null for NaN and infinity."""
        self._lines.write(json.dumps({"step": step, "split": split, **json_numbers(scalars)}) + "\n")
        if self._steps is not None:
            self._steps.flush()
        # Trackers do not get 'count', the number of evaluated images, which is constant, nor NaN, which means unknown.
        curves = {f"{split}/{name}": v for name, v in scalars.items() if name != "count" and not math.isnan(v)}
        for tracker in self._trackers:
            tracker.call("scalars", step, curves)

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """Passes an image [H, W, 3] uint8 to the trackers."""
        for tracker in self._trackers:
            tracker.call("image", step, tag, pixels)
