"""JAX's compile cache: where compiled programs are kept between starts, and how damaged ones are replaced."""

import functools
import glob
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from resnet_jax.files import delete
from resnet_jax.text import labelled, printable

logger = logging.getLogger(__name__)

_KEY = "jax_compilation_cache_dir"
_BEGINNING = "Error (reading|writing) persistent compilation cache entry for "
# A warning of JAX (jax/_src/compiler.py). The program 'jit_f' is stored in a file 'jit_f-HASH-cache'.
_WARNING = re.compile(_BEGINNING + "'(?P<program>[^']*)': (?P<reason>.*)", re.DOTALL)


def keep_programs() -> None:
    """Turns on JAX's compile cache for accelerators, in `~/.cache/resnet_jax/xla` or below `XDG_CACHE_HOME`.

    A cache directory that the user has set is kept. CPU programs are not cached: they compile fast, and a program
    compiled on another machine may not run on this one.
    """
    if getattr(jax.config, _KEY) is None and jax.default_backend() != "cpu":
        _choose_directory()
    if getattr(jax.config, _KEY) is not None:
        _replace_damaged_programs()


def _choose_directory() -> None:
    try:
        directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "resnet_jax", "xla")
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except (OSError, RuntimeError):  # the directory cannot be written, or the home directory is unknown
        return
    jax.config.update(_KEY, str(directory))


def _replace_damaged_programs() -> None:
    """Turns JAX's warnings about programs in its cache into log lines, and lets it replace those that it cannot read.

    JAX does not write a program atomically: if the process is killed while it writes, an incomplete file remains. At
    the next start JAX warns that it cannot read this file, compiles the program, and does not store it, because a file
    of this name exists. The warning comes before the compilation. So if the function that shows warnings removes the
    file, JAX stores the program again.
    """
    warnings.filterwarnings("always", message=_BEGINNING, category=UserWarning)
    if getattr(warnings.showwarning, "func", None) is not _show_warning:
        warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)


def _show_warning(show: Callable[..., None], message: Warning | str, *place: Any, **options: Any) -> None:
    """Logs a warning about a stored program, and removes the program if it cannot be read; `show` shows others."""
    found = _WARNING.match(str(message))
    if found is None:
        show(message, *place, **options)
        return
    program, reason = found["program"], printable(" ".join(found["reason"].split()))[:160]
    if found[1] == "writing":
        line = f"{program} could not be stored ({reason}): it is compiled at every start, until there is room for it"
    elif _remove(program):
        line = f"{program} was stored incompletely: it is compiled and stored again"
    else:
        line = f"{program} could not be read from {getattr(jax.config, _KEY)} ({reason}): it is compiled"
    logger.warning(labelled("programs", line))


def _remove(program: str) -> bool:
    """Removes all stored programs of a name, because JAX does not say which of them is damaged.

    Only process 0 removes them, because only process 0 stores programs.

    Args:
      program: 'jit_f'; in some warnings 'jit_f-HASH'.

    Returns:
      True if programs of this name were stored, and process 0 removed them without an error.
    """
    directory, name = Path(getattr(jax.config, _KEY)), glob.escape(program)
    paths = [*directory.glob(f"{name}-*-cache"), *directory.glob(f"{name}-cache")]
    if jax.process_index() == 0:
        try:
            for path in paths:
                delete(path)
        except OSError:
            return False
    return bool(paths)
