"""Keeps the messages of image decoders off the terminal, and counts them for each thread.

For some files, libtiff prints to stderr, and Pillow warns and logs, each time that a file is decoded. Inside of
`counting()` these messages are only counted. Other code of the process that uses Pillow gets its messages as usual.
"""

import contextlib
import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

_PILLOW = str(Path(PIL.__file__).parent)
_thread = threading.local()  # `messages`: how many so far; `depth`: how many `counting()` blocks are open


def count_messages() -> int:
    """Returns how many messages decoders have sent so far in the calling thread, inside of `counting()`."""
    return getattr(_thread, "messages", 0)


@contextlib.contextmanager
def counting() -> Iterator[None]:
    """In the calling thread, messages of decoders are counted and not shown until the block ends."""
    _thread.depth = _depth() + 1
    try:
        yield
    finally:
        _thread.depth -= 1


def _depth() -> int:
    return getattr(_thread, "depth", 0)


def _counted() -> bool:
    """Counts a message of a decoder if the calling thread is inside of `counting()`; returns whether it is."""
    if not _depth():
        return False
    _thread.messages = count_messages() + 1
    return True


class _CountOrPass(logging.Filter):
    """Lets log records pass only outside of `counting()`; inside, they are counted."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or not _counted()


_filter = _CountOrPass()
_show_warning = warnings.showwarning


def _count_or_show(message: Any, category: type[Warning], filename: str, *rest: Any) -> None:
    """Replaces `warnings.showwarning`: inside of `counting()`, warnings of Pillow are only counted."""
    if not (filename.startswith(_PILLOW) and _counted()):
        _show_warning(message, category, filename, *rest)


# The type of libtiff's handlers: module name, format string, and its arguments as a va_list, which is a pointer.
_TiffHandler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_tiff_handlers: list[Any] = []  # keeps the handlers that libtiff calls from being garbage-collected


def _install_tiff_handler(library: ctypes.CDLL, setter: str) -> None:
    """Replaces a handler of libtiff by one that calls the earlier handler only outside of `counting()`."""
    set_handler = getattr(library, setter)
    set_handler.restype = ctypes.c_void_p
    earlier: list[Any] = []

    def handle(module: bytes, text: bytes, arguments: int) -> None:
        if not _counted() and earlier:
            earlier[0](module, text, arguments)

    _tiff_handlers.append(_TiffHandler(handle))
    address = set_handler(_tiff_handlers[-1])
    if address:
        earlier.append(_TiffHandler(address))


def install() -> None:
    """Installs the hooks that `counting()` needs. Importing this module calls this function."""
    warnings.filterwarnings("always", module=r"PIL\.")  # without this filter, Python shows each warning only once
    warnings.showwarning = _count_or_show  # type: ignore[assignment]
    # A filter of a logger does not apply to its children, so each module of Pillow gets it.
    for path in Path(_PILLOW).glob("*.py"):
        logging.getLogger(f"PIL.{path.stem}").addFilter(_filter)


def _install_tiff_handlers() -> None:
    # Looks the functions up in Pillow's extension and in the libraries that it has loaded.
    library = ctypes.CDLL(Image.core.__file__)
    for setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, setter):  # missing if Pillow was built without libtiff or linked it statically
            _install_tiff_handler(library, setter)


install()
_install_tiff_handlers()
