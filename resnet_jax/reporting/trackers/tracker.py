"""The interface of experiment trackers: each gets the description of a run, then its scalars and images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class TrackedRun(NamedTuple):
    """The description of a run that starts or continues, for a tracker."""

    directory: Path  # the work directory
    run_id: str  # eight hex digits; the same in all starts of the run
    start_step: int  # number of updates done before this start; 0 if the run is new
    settings: dict[str, Any]  # dotted config key -> value; None is replaced by the value computed from the data
    leave_out: tuple[str, ...]  # tags of metrics that have no value in this run, such as 'eval/top5'

    @property
    def name(self) -> str:
        """Name of the run: that of the work directory."""
        return self.directory.name


class Tracker:
    """The base class of trackers. Its methods do nothing; a tracker overrides those for what it can show.

    All methods are called in the thread that opened the tracker, in the order of the steps. They may block and may
    raise any error, because `background.py` calls them in a thread of its own and catches their errors.
    """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows scalars of a step: tag, such as 'train/loss', -> value, which may be infinite but not NaN."""

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """Shows an image [H, W, 3] uint8."""

    def close(self, *, failed: bool) -> None:
        """Writes buffered data and ends; `failed` says whether the training run ended with an error."""
