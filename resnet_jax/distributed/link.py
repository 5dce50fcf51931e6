"""The connection to one other process. Lines to send wait in a queue; when there are none, heartbeats are sent."""

import queue
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping

from resnet_jax.distributed.lines import read_lines

_HEARTBEAT = b"\n"  # an empty line
_LOOKS = 10  # number of checks of every connection within the stall timeout
_FLUSH_SECONDS = 5.0  # most seconds to wait until the last lines are sent


class Link:
    """A connection, with one thread that reads lines and one that writes them.

    The writing thread does not depend on the main thread: a process that compiles, evaluates or waits for a disk or a
    device keeps sending heartbeats. Only a process that is stopped (SIGSTOP) or whose machine hangs sends none.
    """

    def __init__(self, connection: socket.socket, *, heartbeat: float):
        """Sends nothing before `write_lines` is called.

        Args:
          connection: a blocking socket.
          heartbeat: seconds without a message after which a heartbeat is sent.
        """
        self.connection = connection
        self.silent = 0  # number of calls of `count` since something was received
        self._heartbeat = heartbeat
        self._outbox: queue.Queue[bytes] = queue.Queue()

    def count(self) -> int:
        """Returns how many times this method was called since anything was last received, this call included.

        It counts calls, not seconds. If this process itself is stopped for a while, seconds pass but no calls are made,
        so when it continues it does not conclude that all other processes have stopped.
        """
        self.silent += 1
        return self.silent

    def read_lines(self) -> Iterator[bytes]:
        """Yields the lines that arrive, without heartbeats, until the connection ends or is lost."""
        try:
            for line in read_lines(self.connection):
                self.silent = 0
                if line != _HEARTBEAT:
                    yield line
        except OSError:
            pass

    def write(self, line: bytes) -> None:
        """Queues a line. Never blocks, even if the other process reads nothing."""
        self._outbox.put(line)

    def write_lines(self) -> None:
        """Sends the queued lines, and heartbeats between them. Does not return; discards lines of a lost connection."""
        lost = False
        while True:
            try:
                line, queued = self._outbox.get(timeout=None if lost else self._heartbeat), True
            except queue.Empty:
                line, queued = _HEARTBEAT, False
            if not lost:
                try:
                    self.connection.sendall(line)
                except OSError:
                    lost = True  # `read_lines` also finds the connection lost, and ends
            if queued:
                self._outbox.task_done()

    def flush(self, *, deadline: float) -> None:
        """Waits until the queued lines have been sent, or until the deadline, a time of `time.monotonic`."""
        sent = self._outbox.all_tasks_done
        with sent:
            sent.wait_for(lambda: not self._outbox.unfinished_tasks, max(0.0, deadline - time.monotonic()))


class Links:
    """The connections of this process to other processes of the run, by the process id of the other process."""

    def __init__(self, sockets: Mapping[int, socket.socket], *, stall_timeout: float):
        """Creates a `Link` for each connection, but sends nothing yet.

        Args:
          sockets: process id of the other process -> blocking socket of the connection.
          stall_timeout: seconds without a sign of life after which another process counts as stopped.
        """
        self._interval = stall_timeout / _LOOKS
        self._links = {number: Link(one, heartbeat=self._interval / 2) for number, one in sockets.items()}

    def __bool__(self) -> bool:
        return bool(self._links)

    def items(self) -> Iterable[tuple[int, Link]]:
        """Returns a pair for each connection: the process id of the other process, and the `Link`."""
        return self._links.items()

    def write(self, line: bytes) -> None:
        """Queues a line for every connection."""
        for link in self._links.values():
            link.write(line)

    def flush(self) -> None:
        """Waits until all queued lines are sent, but at most `_FLUSH_SECONDS`: a stopped process reads no lines."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        for link in self._links.values():
            link.flush(deadline=deadline)

    def watch(self, ended: threading.Event) -> Iterator[int]:
        """Yields the id of each process that has sent nothing for the stall timeout, once, until `ended` is set."""
        while not ended.wait(self._interval):
            for number, link in self._links.items():
                if link.count() == _LOOKS:
                    yield number
