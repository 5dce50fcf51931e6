"""Records a profiler trace of a range of training steps for TensorBoard's profile tab."""

import logging
from pathlib import Path
from types import TracebackType

import jax
from clu import profiler

from resnet_jax.text import labelled
from resnet_jax.training.state import TrainState

logger = logging.getLogger(__name__)


class Profile:
    """Records a profiler trace of a range of training steps. It is a context manager, whose end stops the trace."""

    def __init__(self, directory: Path, steps: range):
        """Sets which steps to trace, and where to write the trace.

        Args:
          directory: directory to which the trace is written.
          steps: the steps to trace, counted from 0; an empty range traces nothing.
        """
        self._directory, self._steps = directory, steps
        self._first: int | None = None  # first step of the trace in progress
        self._last = 0  # latest step of the trace so far

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._first is not None:
            self._stop(self._first)

    def before(self, step: int, state: TrainState) -> None:
        """Starts the trace before its first step and stops it after its last step. Call this before each training step.

        Before stopping, waits until `state` is computed, so that the trace contains the whole last step.

        Args:
          step: number of updates done.
          state: result of the latest step.
        """
        if step in self._steps:
            if self._first is None:
                profiler.start(str(self._directory))
                self._first = step
            self._last = step
        elif self._first is not None:
            jax.block_until_ready(state)
            self._stop(self._first)

    def _stop(self, first: int) -> None:
        self._first = None
        profiler.stop()
        logger.info(labelled("profile", f"of steps {first} to {self._last}: {self._directory / 'plugins'}"))
