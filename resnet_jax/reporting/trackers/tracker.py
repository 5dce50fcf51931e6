"""What a tracker is given: the description of a run, then its scalars and images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class TrackedRun(NamedTuple):
    """The run that a tracker shows, as it is when the run starts or continues."""

    directory: Path  # the work directory
    run_id: str  # eight hex digits; the same in all starts of the run
    start_step: int  # number of updates done before this start; 0 if the run is new
    settings: dict[str, Any]  # config by dotted key; values computed from the data replace None of `config.json`
    leave_out: tuple[str, ...]  # tags that have no value in this run, such as 'eval/top5'

    @property
    def name(self) -> str:
        """Name of the run: that of the work directory."""
        return self.directory.name


class Tracker:
    """A tracker that shows nothing; each tracker overrides the methods of what it can show.

    All methods are called in the thread that opened the tracker, in the order of the steps. They may take any time and
    may raise any error: `background.py` keeps both away from the run.
    """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the scalars of a step by tag, such as 'train/loss'; infinite values may be among them, NaN is not."""

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """Shows an image [H, W, 3] uint8."""

    def close(self, *, failed: bool) -> None:
        """Writes what is not yet written; `failed` says whether the run ended with an error."""
