"""Turns signals into requests to stop or to save. A second SIGTERM or SIGINT ends the process."""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal

RequestKind = Literal["stop", "save"]

STOPPED = 75  # exit status EX_TEMPFAIL of sysexits.h: the run is not finished, run the command again to continue
_ONE_REQUEST = 1.0  # seconds after a SIGTERM or SIGINT in which another one is ignored: launchers may repeat signals
_REQUESTS: dict[int, RequestKind] = {
    signal.SIGTERM: "stop",
    signal.SIGINT: "stop",
    signal.SIGHUP: "stop",  # the terminal or the connection to it has ended
    signal.SIGXCPU: "stop",  # the limit of CPU time is reached: sent every second from then on
    signal.SIGUSR2: "stop",  # a warning of Grid Engine and LSF before they end a job
    signal.SIGUSR1: "save",
}
# A second one of these signals ends the process at once, without saving. A scheduler may send the other signals
# repeatedly, or before SIGTERM, and still want the run to save.
_IMPATIENT = {signal.SIGTERM, signal.SIGINT}
# If one of these signals is ignored when the program starts, as SIGHUP is under nohup, it stays ignored. SIGINT is not
# in this set: shells start background commands with SIGINT ignored.
_MAY_BE_IGNORED = {signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2}


class Signals:
    """A context manager in which the signals of `_REQUESTS` call a function instead of ending the process.

    A second SIGTERM or SIGINT, more than `_ONE_REQUEST` seconds after the first, ends the process at once, without
    saving, with status 128 + signal number.

    A thread reads the signal numbers from a pipe, to which Python's C signal handler writes them
    (`signal.set_wakeup_fd`). So the process responds to signals while the main thread is inside a compilation or a
    copy, where no Python signal handler could run.
    """

    def __init__(self, on_request: Callable[[RequestKind, str], None]):
        """Takes the function to call, in a thread, with request and signal name, for example ('stop', 'SIGTERM')."""
        self._on_request = on_request
        self._first_stop: float | None = None  # monotonic time of the first SIGTERM or SIGINT

    def __enter__(self) -> "Signals":
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._old_fd = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        ignored = {number for number in _MAY_BE_IGNORED if signal.getsignal(number) is signal.SIG_IGN}
        self._old_handlers = {number: signal.signal(number, _no_action) for number in _REQUESTS.keys() - ignored}
        self._requests: queue.SimpleQueue[tuple[RequestKind, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()
        # `on_request` may block, so a thread of its own calls it, and `_watch` can still read a second signal.
        threading.Thread(target=self._call_back, name="requests", daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        os.close(self._write_end)  # the thread `_watch` then reads the end of the pipe and returns
        self._thread.join()
        os.close(self._read_end)

    def _watch(self) -> None:
        while received := os.read(self._read_end, 1):
            number = received[0]
            if number not in _REQUESTS:
                continue
            request, name = _REQUESTS[number], signal.Signals(number).name
            if number in _IMPATIENT:
                if self._first_stop is not None:
                    if time.monotonic() - self._first_stop < _ONE_REQUEST:
                        continue
                    os._exit(128 + number)  # at once, without saving
                self._first_stop = time.monotonic()
            self._requests.put((request, name))
        self._requests.put(None)

    def _call_back(self) -> None:
        while (request := self._requests.get()) is not None:
            self._on_request(*request)


def ignore_stop_signals() -> None:
    """Ignores further stop signals, in a process that has saved and is about to end.

    A launcher may pass on a signal that the whole process group has already received. Arriving late, it would change
    the exit status.
    """
    for number, request in _REQUESTS.items():
        if request == "stop":
            signal.signal(number, signal.SIG_IGN)


def _no_action(number: int, frame: object) -> None:
    """Signal handler that does nothing: it replaces the default action. `Signals` reads the signal from a pipe."""
