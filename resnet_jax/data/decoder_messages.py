"""Keeps the messages of image decoders off the terminal, and counts them for each thread.

For some files, libtiff prints to stderr, and Pillow warns and logs, each time that a file is decoded. After this module
has been imported, they only count.
"""

import ctypes
import logging
import threading
import warnings
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

_PILLOW = str(Path(PIL.__file__).parent)
_counts = threading.local()


def count_messages() -> int:
    """Returns how many messages decoders have sent so far in the calling thread."""
    return getattr(_counts, "messages", 0)


def add(*_: Any) -> None:
    """Counts a message in the calling thread."""
    _counts.messages = count_messages() + 1


class _Counting(logging.Handler):
    """Counts log records instead of writing them."""

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
        add()


_handler = _Counting(logging.WARNING)
_show_others = warnings.showwarning


def _count_or_show(message: Any, category: type[Warning], filename: str, *rest: Any) -> None:
    """Replaces `warnings.showwarning`: counts the warnings of Pillow, and shows all others."""
    if filename.startswith(_PILLOW):
        add()
    else:
        _show_others(message, category, filename, *rest)


# A function of C that takes the module, the format and the arguments of a message of libtiff.
_on_tiff_message = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)(add)


def install() -> None:
    """Makes the decoders count their messages instead of showing them; importing this module does so."""
    warnings.filterwarnings("always", module=r"PIL\.")  # without this filter, Python shows a warning once
    warnings.showwarning = _count_or_show  # type: ignore[assignment]
    pillow = logging.getLogger("PIL")
    pillow.propagate = False
    pillow.addHandler(_handler)
    # Looks the functions up in Pillow's extension and in the libraries that it has loaded.
    library = ctypes.CDLL(Image.core.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, name):  # absent if Pillow was built without libtiff, or contains it
            getattr(library, name)(_on_tiff_message)


install()
