"""Messages as lines of JSON, read from sockets with a deadline and a length limit that a slow sender cannot extend."""

import functools
import json
import selectors
import socket
import time
from typing import Any

_HELLO_SECONDS = 5.0  # seconds from accepting a connection until its first line must be complete
_LONGEST_HELLO = 4096  # bytes of the first line: a process sends two numbers and the name of its host
_LONGEST_LINE = 1 << 22  # bytes of any line: process 0 sends the host names of all processes

Hello = tuple[socket.socket, dict[str, Any]]  # a connection and the first message received on it


def encode(message: dict[str, Any]) -> bytes:
    """Returns a message as one line of JSON that ends in a newline."""
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Returns the message that `encode` wrote as `line`. Raises ValueError if the line is not a JSON object."""
    try:
        message = json.loads(line)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def read_line(connection: socket.socket, *, deadline: float) -> dict[str, Any]:
    """Reads one message from a socket, up to its newline and not a byte further.

    Args:
      connection: the socket. The call changes its timeout.
      deadline: time of `time.monotonic` at which the whole line must have arrived.

    Raises:
      OSError: the connection ended, or the deadline has passed.
      ValueError: the line is too long or not a JSON object.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the line was not complete in time")
        connection.settimeout(seconds)
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError("the connection was closed")
        line += byte
        if len(line) > _LONGEST_LINE:
            raise ValueError("the line is too long")
    return decode(bytes(line))


class Newcomers:
    """Accepts connections and reads the first line of each, all concurrently: a slow client delays no other.

    A connection is closed unless its first data are one JSON object on one line of at most `_LONGEST_HELLO` bytes,
    complete within `_HELLO_SECONDS`: it may be that of a port scanner. On exit, the context manager closes the
    connections whose line is not complete.
    """

    def __init__(self, server: socket.socket):
        """Takes the listening socket `server` and makes it non-blocking."""
        server.setblocking(False)
        self._server = server
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ, self._accept)
        self._lines: dict[socket.socket, bytearray] = {}  # connection -> bytes received so far
        self._deadlines: dict[socket.socket, float] = {}  # connection -> time by which its line must be complete

    def __enter__(self) -> "Newcomers":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in list(self._lines):
            self._drop(connection)
        self._selector.close()

    def receive(self, *, deadline: float) -> list[Hello]:
        """Waits until data arrive, and returns the connections whose first line is now complete, with the messages.

        The list is empty if only a part of a line arrived, or nothing until the deadline: call it in a loop.

        Args:
          deadline: time of `time.monotonic` at which to return at the latest.
        """
        until = min([deadline, *self._deadlines.values()])
        ready = self._selector.select(max(0.0, until - time.monotonic()))
        results = [key.data() for key, _ in ready]  # calls `_accept` or `_read`
        for connection in [late for late, limit in self._deadlines.items() if limit <= time.monotonic()]:
            self._drop(connection)
        return [result for result in results if result is not None]

    def _accept(self) -> None:
        try:
            connection, _ = self._server.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client has closed the connection again
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, functools.partial(self._read, connection))
        self._lines[connection] = bytearray()
        self._deadlines[connection] = time.monotonic() + _HELLO_SECONDS

    def _read(self, connection: socket.socket) -> Hello | None:
        """Reads received bytes. Returns the message if its line is complete; closes the connection if it is invalid."""
        line = self._lines[connection]
        try:
            received = connection.recv(_LONGEST_HELLO)
            line += received
            if not received or len(line) > _LONGEST_HELLO or b"\n" in line[:-1]:
                raise ValueError("not one line")
            if not line.endswith(b"\n"):
                return None
            message = decode(bytes(line))
        except BlockingIOError:
            return None
        except (OSError, ValueError):
            self._drop(connection)
            return None
        self._forget(connection)
        return connection, message

    def _forget(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._lines[connection], self._deadlines[connection]

    def _drop(self, connection: socket.socket) -> None:
        self._forget(connection)
        connection.close()
