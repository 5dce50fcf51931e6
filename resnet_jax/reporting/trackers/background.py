"""Runs a tracker in a thread of its own, so that its errors do not end a run and its calls do not delay a run."""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from resnet_jax.reporting.trackers.tracker import Tracker
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)

_LONGEST_QUEUE = 10_000  # largest number of calls that wait for a slow tracker; there is a call for each report
_PATIENCE = 30.0  # seconds for which the end of a run waits until a tracker is closed, for example for an upload
_LONGEST_REASON = 200  # largest number of characters of an error message that a warning quotes


class BackgroundTracker:
    """Calls the methods of a tracker in a thread. After its first error the tracker is not used again."""

    def __init__(self, name: str, open_tracker: Callable[[], Tracker], *, patience: float = _PATIENCE):
        """Starts the thread, which opens the tracker; importing its package may take seconds.

        Args:
          name: name of the tracker, for messages.
          open_tracker: opens the tracker.
          patience: seconds that `close` waits for the tracker.
        """
        self._name, self._open, self._patience = name, open_tracker, patience
        self._calls: queue.Queue[tuple[str, tuple, dict[str, Any]]] = queue.Queue(_LONGEST_QUEUE)
        self._has_failed = False
        # A daemon thread, so that Python does not wait at exit for a tracker whose server does not answer.
        self._thread = threading.Thread(target=self._run, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    def call(self, method: str, *values: Any, **options: Any) -> None:
        """Schedules the call of a method of the tracker; does nothing after the tracker has failed."""
        if self._has_failed:
            return
        try:
            self._calls.put_nowait((method, values, options))
        except queue.Full:
            self._fail(f"{_LONGEST_QUEUE:,} calls are waiting for it")

    def close(self, *, failed: bool) -> None:
        """Closes the tracker after the scheduled calls; waits for it, but not longer than `patience` seconds."""
        self.call("close", failed=failed)
        self._thread.join(self._patience)
        if self._thread.is_alive() and not self._has_failed:
            self._fail(f"not done {self._patience:g} s after the end of the run")

    def _run(self) -> None:
        tracker = None
        try:
            tracker = self._open()
            method = ""
            while method != "close" and not self._has_failed:
                method, values, options = self._calls.get()
                getattr(tracker, method)(*values, **options)
        except BaseException as error:  # libraries raise errors of many types, SystemExit among them
            self._fail(f"{type(error).__name__}: {error}")
            with contextlib.suppress(BaseException):
                if tracker is not None:
                    tracker.close(failed=True)

    def _fail(self, reason: str) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        reason = " ".join(reason.split())[:_LONGEST_REASON]
        text = f"shows no more of this start of the run ({reason}); metrics.jsonl has everything"
        logger.warning(labelled(self._name, text))
