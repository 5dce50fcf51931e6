"""What a target of the fuzzer is, and what several targets need."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy


class Target(NamedTuple):
    """Something that reads foreign data."""

    inputs: Callable[[], SearchStrategy[Any]]  # makes the strategy for inputs
    check: Callable[[Any], None]  # raises an exception if an input is not handled as it should be


def damaged(files: Sequence[bytes]) -> SearchStrategy[bytes]:
    """Returns a strategy for files with a few changes: bytes overwritten, removed or inserted, the end cut off."""
    position = strategies.floats(0, 1, exclude_max=True)
    content = strategies.one_of(
        strategies.binary(max_size=8),
        strategies.sampled_from([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80" + bytes(7)]),
    )
    change = strategies.tuples(strategies.sampled_from(["overwrite", "remove", "insert", "cut"]), position, content)
    changes = strategies.lists(change, max_size=6)
    return strategies.builds(_apply, strategies.sampled_from(files), changes)


def _apply(file: bytes, changes: Sequence[tuple[str, float, bytes]]) -> bytes:
    for kind, position, content in changes:
        # The square: most headers are at the beginning.
        start = int(position**2 * len(file))
        stop = start if kind == "insert" else len(file) if kind == "cut" else start + len(content)
        file = file[:start] + (content if kind in ("overwrite", "insert") else b"") + file[stop:]
    return file


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Raises AssertionError if the block prints to stdout or stderr, from Python or from C."""
    with _output() as file:
        yield
        file.seek(0)
        printed = file.read(1000)
    assert not printed, f"printed {printed!r}"


@contextlib.contextmanager
def _output() -> Iterator[Any]:
    """Sends file descriptors 1 and 2 to a temporary file."""
    with tempfile.TemporaryFile() as file:
        kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        for descriptor in kept:
            os.dup2(file.fileno(), descriptor)
        try:
            yield file
        finally:
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)


def check_message(error: Exception) -> None:
    """Raises AssertionError unless the message of an error is one line that says something."""
    message = str(error)
    assert message, "an error without a message"
    assert "\n" not in message, "a message of several lines"
    assert "MemoryError" not in message, "too much memory was asked for"
