"""Signals: SIGTERM and SIGINT ask to stop, SIGUSR1 asks to save; a second request to stop insists."""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal

Request = Literal["stop", "save"]

STOPPED = 75  # exit status: EX_TEMPFAIL of sysexits.h, run again to continue
_ONE_REQUEST = 1.0  # seconds in which several signals are one: launchers pass on what also reaches the whole group
_REQUESTS: dict[int, Request] = {signal.SIGTERM: "stop", signal.SIGINT: "stop", signal.SIGUSR1: "save"}


class Signals:
    """While entered, signals become requests instead of ending the process; a second one to stop ends it.

    A thread reads the signals from a pipe that the interpreter's C handler fills: it answers while the main
    thread is inside a compilation or a copy, where no Python handler could run.
    """

    def __init__(self, on_request: Callable[[Request, str], None]):
        """`on_request` is called in a thread, with what is asked for and the name of the signal."""
        self._on_request = on_request
        self._asked_to_stop: float | None = None  # when

    def __enter__(self) -> "Signals":
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._old_fd = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._old_handlers = {number: signal.signal(number, _noted_by_the_pipe) for number in _REQUESTS}
        self._requests: queue.SimpleQueue[tuple[Request, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()
        # What is asked for may take its time; a second signal is heard meanwhile.
        threading.Thread(target=self._pass_on, name="requests", daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        os.close(self._write_end)  # the thread reads the end of the pipe and is done
        self._thread.join()
        os.close(self._read_end)

    def _watch(self) -> None:
        while received := os.read(self._read_end, 1):
            number = received[0]
            if number not in _REQUESTS:
                continue
            request, name = _REQUESTS[number], signal.Signals(number).name
            if request == "stop":
                if self._asked_to_stop is not None:
                    if time.monotonic() - self._asked_to_stop < _ONE_REQUEST:
                        continue
                    os._exit(128 + number)  # at once: what is not saved is lost, what is saved stays
                self._asked_to_stop = time.monotonic()
            self._requests.put((request, name))
        self._requests.put(None)

    def _pass_on(self) -> None:
        while (asked := self._requests.get()) is not None:
            self._on_request(*asked)


def _noted_by_the_pipe(number: int, frame: object) -> None:
    """Replaces the default action."""
