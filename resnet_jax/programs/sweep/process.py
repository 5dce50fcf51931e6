"""Trains a run of a sweep in its own process, passes signals on to it, and stops it if it is hopeless."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from resnet_jax.programs.sweep.runs import Run

_POLL = 0.5  # seconds between two checks whether the run is hopeless


class Process:
    """Runs training processes, one after another; a signal to this process is passed on to the current one."""

    def __init__(self, program: Sequence[str] = (sys.executable, "-m", "resnet_jax"), *, print_log: bool = False):
        """Installs the signal handlers.

        Args:
          program: first words of the command of each training process.
          print_log: whether the log lines of the training processes are printed; their errors are always printed.
        """
        self._program, self._stdout = program, None if print_log else subprocess.DEVNULL
        self._current: subprocess.Popen | None = None
        self.stopped = False  # whether a signal has asked to stop
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)

    def train(self, run: Run, *, is_hopeless: Callable[[], bool] | None = None) -> int:
        """Trains a run until its process ends; returns the exit status of that process.

        Args:
          run: the run.
          is_hopeless: called every half second; once it returns True, the run is asked to save and stop. None: never.
        """
        # The run gets its own session, so that Ctrl-C reaches only this process, which passes it on to the run once.
        command = [*self._program, "--mode=train", *run.flags]
        self._current = subprocess.Popen(command, stdout=self._stdout, start_new_session=True)
        asked = False
        try:
            while self._current.poll() is None:
                try:
                    self._current.wait(_POLL if is_hopeless else None)
                except subprocess.TimeoutExpired:
                    if is_hopeless and not asked and is_hopeless():
                        self._current.send_signal(signal.SIGTERM)
                        asked = True
            return self._current.returncode
        finally:
            self._current = None

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.stopped = True
        if self._current is not None:
            self._current.send_signal(number)
