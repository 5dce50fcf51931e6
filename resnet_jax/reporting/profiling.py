"""A trace of some training steps for TensorBoard's profile tab."""

import logging
from pathlib import Path
from types import TracebackType

import jax
from clu import profiler

from resnet_jax.training.state import TrainState

logger = logging.getLogger(__name__)


class Profile:
    """Traces a range of steps. A context manager: leaving it ends a trace that is under way."""

    def __init__(self, directory: Path, steps: range):
        """Waits for the first of `steps`; none: nothing is ever traced."""
        self._directory, self._steps = directory, steps
        self._first: int | None = None  # step of a trace under way
        self._last = 0

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._first is not None:
            self._stop(self._first)

    def before(self, step: int, state: TrainState) -> None:
        """Starts or stops if it is time; called before the update that follows `step` others.

        Waits for `state` before it stops, so that what led to it is in the trace.
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
        logger.info("profile      of steps %d to %d: %s", first, self._last, self._directory / "plugins")
