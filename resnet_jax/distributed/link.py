"""The connection to one other process: what is sent waits in a queue, and an idle connection carries heartbeats."""

import queue
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping

from resnet_jax.distributed.lines import read_lines

_HEARTBEAT = b"\n"  # an empty line
_LOOKS = 10  # looks at the connections within the stall timeout
_FLUSH_SECONDS = 5.0  # seconds that sending the last messages may take


class Link:
    """A connection, for one thread that reads lines and one that writes them.

    The thread that writes is stopped together with its process, whatever the main thread does: a process that
    compiles, evaluates or waits for a disk or a device keeps sending heartbeats, and one that is stopped (SIGSTOP) or
    whose machine hangs sends none.
    """

    def __init__(self, connection: socket.socket, *, heartbeat: float):
        """Sends nothing before `write_lines` is called.

        Args:
          connection: a blocking socket.
          heartbeat: seconds without a message after which a heartbeat is sent.
        """
        self.connection = connection
        self.silent = 0  # calls of `count` since something was received
        self._heartbeat = heartbeat
        self._outbox: queue.Queue[bytes] = queue.Queue()

    def count(self) -> int:
        """Returns how often this method was called since something was received, this call included.

        Counting the calls of a thread, instead of seconds, keeps a process that was stopped itself from taking all
        others for stopped when it continues.
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
        """Queues a line. Never blocks, also if the other process reads nothing."""
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
                    lost = True  # `read_lines` ends, too
            if queued:
                self._outbox.task_done()

    def flush(self, *, deadline: float) -> None:
        """Waits until the queued lines have been sent, or until the deadline, a time of `time.monotonic`."""
        sent = self._outbox.all_tasks_done
        with sent:
            sent.wait_for(lambda: not self._outbox.unfinished_tasks, max(0.0, deadline - time.monotonic()))


class Links:
    """The connections of a process, by process id."""

    def __init__(self, sockets: Mapping[int, socket.socket], *, stall_timeout: float):
        """Sends nothing yet.

        Args:
          sockets: a blocking socket for each connection.
          stall_timeout: seconds without a sign of life after which another process counts as stopped.
        """
        self._interval = stall_timeout / _LOOKS
        self._links = {number: Link(one, heartbeat=self._interval / 2) for number, one in sockets.items()}

    def __bool__(self) -> bool:
        return bool(self._links)

    def items(self) -> Iterable[tuple[int, Link]]:
        """Returns the process ids with their connections."""
        return self._links.items()

    def write(self, line: bytes) -> None:
        """Queues a line for every connection."""
        for link in self._links.values():
            link.write(line)

    def flush(self) -> None:
        """Waits until all queued lines are sent, at most `_FLUSH_SECONDS`: a stopped process reads none."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        for link in self._links.values():
            link.flush(deadline=deadline)

    def watch(self, ended: threading.Event) -> Iterator[int]:
        """Yields the id of each process that has sent nothing for the stall timeout, once, until `ended` is set."""
        while not ended.wait(self._interval):
            for number, link in self._links.items():
                if link.count() == _LOOKS:
                    yield number
