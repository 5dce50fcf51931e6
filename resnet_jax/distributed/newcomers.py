"""Accepts connections to process 0 from clients that are not known yet, and reads the first message of each."""

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from resnet_jax.distributed.handshake import challenge_message, new_challenge
from resnet_jax.distributed.lines import decode, encode

_HELLO_SECONDS = 5.0  # seconds from accepting a connection until its first line must be complete
_LONGEST_HELLO = 4096  # most bytes of the first line: a process sends two numbers, a name, a challenge and a proof
_MOST_WAITING = 256  # most connections whose first line is not complete; a further one replaces the oldest
_PAUSE = 0.05  # seconds until the next attempt if a connection cannot be accepted since too many files are open


class Newcomer(NamedTuple):
    """A connection whose first message has arrived."""

    connection: socket.socket
    address: str  # address of the client
    challenge: str  # the random number that this process sent to the client, see `handshake`
    message: dict[str, Any]


class Newcomers:
    """Accepts connections and reads the first line of each, all concurrently: a slow client delays no other.

    Each client is sent a challenge. Its connection is closed unless it sends one JSON object on one line of at most
    `_LONGEST_HELLO` bytes within `_HELLO_SECONDS`: it may be a port scanner. On exit, the context manager closes the
    connections whose first line is not complete.
    """

    def __init__(self, server: socket.socket, *, dropped: Callable[[str, str], None]):
        """Makes the listening socket non-blocking.

        Args:
          server: the listening socket.
          dropped: called with the address of a client and the reason, when its connection is closed because of what it
            sent.
        """
        server.setblocking(False)
        self._server, self._dropped = server, dropped
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ)
        self._waiting: dict[socket.socket, _Waiting] = {}  # connections without a complete first line, oldest first

    def __enter__(self) -> "Newcomers":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in list(self._waiting):
            self._drop(connection)
        self._selector.close()

    def receive(self, *, deadline: float) -> list[Newcomer]:
        """Waits until data arrive, and returns the connections whose first line is now complete.

        The list is empty if only a part of a line arrived, or nothing by the deadline: call this method in a loop.

        Args:
          deadline: time of `time.monotonic` at which to return at the latest.
        """
        until = min([deadline, *(waiting.deadline for waiting in self._waiting.values())])
        found = []
        for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
            if key.fileobj is self._server:
                self._accept()
            elif (newcomer := self._read(key.fileobj)) is not None:  # type: ignore[arg-type]
                found.append(newcomer)
        now = time.monotonic()
        for connection in [one for one, waiting in self._waiting.items() if waiting.deadline <= now]:
            self._drop(connection, f"the client sent no complete message in {_HELLO_SECONDS:g} s")
        return found

    def _accept(self) -> None:
        try:
            connection, address = self._server.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client has already closed the connection
            return
        except OSError:  # too many open files
            if self._waiting:
                self._drop(next(iter(self._waiting)), "too many connections are open")
            else:
                time.sleep(_PAUSE)
            return
        challenge = new_challenge()
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # `_read` detects that the connection is lost
            connection.sendall(encode(challenge_message(challenge)))
        self._selector.register(connection, selectors.EVENT_READ)
        self._waiting[connection] = _Waiting(address[0], challenge, bytearray(), time.monotonic() + _HELLO_SECONDS)
        if len(self._waiting) > _MOST_WAITING:
            self._drop(next(iter(self._waiting)), "too many connections sent nothing")

    def _read(self, connection: socket.socket) -> Newcomer | None:
        """Reads received bytes. Returns a newcomer if its first line is complete; closes it if the line is invalid."""
        if connection not in self._waiting:  # `_accept` has just closed it
            return None
        address, challenge, line, _ = self._waiting[connection]
        try:
            received = connection.recv(_LONGEST_HELLO)
            line += received
            if not received or len(line) > _LONGEST_HELLO or b"\n" in line[:-1]:
                raise ValueError("the client is another program")
            if not line.endswith(b"\n"):
                return None
            message = decode(bytes(line))
        except BlockingIOError:
            return None
        except (OSError, ValueError):
            self._drop(connection, "the client is another program" if line else "")
            return None
        self._forget(connection)
        return Newcomer(connection, address, challenge, message)

    def _forget(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._waiting[connection]

    def _drop(self, connection: socket.socket, reason: str = "") -> None:
        """Closes a connection; an empty reason is not reported, as for a client that only looks for open ports."""
        address = self._waiting[connection].address
        self._forget(connection)
        if reason:
            self._dropped(address, reason)
        connection.close()


class _Waiting(NamedTuple):
    """A connection whose first line is not complete."""

    address: str  # address of the client; `getpeername` fails once the client has closed the connection
    challenge: str
    line: bytearray  # the bytes received so far
    deadline: float  # time of `time.monotonic` by which the line must be complete
