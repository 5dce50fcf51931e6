"""Makes what may be in the place of a file or of a directory, of every kind that an operating system has."""

import os
import socket
from collections.abc import Callable
from pathlib import Path


def make_socket(path: Path) -> None:
    """Makes a socket at a path of any length; the address of a socket has at most 107 bytes."""
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(path.parent, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{directory}/{path.name}")
    os.close(directory)
    listener.close()


# The words by which a message names a kind, then what makes it at a path.
KINDS: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("a file", Path.touch),
    ("a directory", Path.mkdir),
    ("a named pipe", os.mkfifo),
    ("a socket", make_socket),
    ("a device", lambda path: path.symlink_to("/dev/null")),
    ("a link to nothing", lambda path: path.symlink_to(path.with_name("nothing") / "x")),
    ("a link to nothing", lambda path: path.symlink_to(path.name)),
)
NO_FILES = tuple(kind for kind in KINDS if kind[0] != "a file")
NO_DIRECTORIES = tuple(kind for kind in KINDS if kind[0] != "a directory")
