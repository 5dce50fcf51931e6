"""Messages as lines of JSON, with limits of length, nesting and time in case another program sends something else."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

LONGEST_LINE = 1 << 26  # most bytes of a line, its newline included
_MOST_NUMBER = 1 << 53  # largest integer that is accepted; larger ones are not exact in every JSON parser


def encode(message: dict[str, Any]) -> bytes:
    """Returns a message as one line of JSON that ends in a newline."""
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Returns the message that `encode` wrote as `line`. Raises ValueError if the line is not a JSON object."""
    try:
        message = json.loads(line)
    except (RecursionError, MemoryError):
        raise ValueError("JSON is nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def is_number(value: Any, most: int = _MOST_NUMBER) -> bool:
    """Whether `value` is an integer from 0 to `most`; True and False are not."""
    return type(value) is int and 0 <= value <= most


def is_text(value: Any) -> bool:
    """Whether `value` is a string."""
    return isinstance(value, str)


def read_line(connection: socket.socket, *, deadline: float, longest: int) -> dict[str, Any]:
    """Reads one message from a socket, up to its newline and not a byte further.

    Args:
      connection: the socket. The call changes its timeout.
      deadline: time of `time.monotonic` by which the whole line must have arrived.
      longest: the most bytes that the line may have.

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
        if len(line) > longest:
            raise ValueError("the line is too long")
    return decode(bytes(line))


def read_lines(connection: socket.socket) -> Iterator[bytes]:
    """Yields the lines of a socket with their newlines, until the connection ends.

    Of a line longer than `LONGEST_LINE` the beginning is yielded, without a newline, and the rest is skipped. An
    incomplete last line is left out.

    Raises:
      OSError: the connection was lost.
    """
    with connection.makefile("rb") as file:
        skipping = False
        while line := file.readline(LONGEST_LINE):
            complete = line.endswith(b"\n")
            if not skipping and (complete or len(line) == LONGEST_LINE):
                yield line
            skipping = not complete
