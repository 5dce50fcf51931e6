"""Lists, deletes and moves the checkpoints in a directory, and deletes what killed processes left in it.

A checkpoint is a directory whose name is its step, such as '60'. Files and directories with other names are ignored,
because the user may have put them there, unless they have one of this program's temporary names.
"""

import errno
import logging
import os
import re
from pathlib import Path
from typing import NamedTuple

from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.files import META, UNFINISHED, DamagedError
from resnet_jax.errors import UsageError
from resnet_jax.files import delete, free_name, numbered, set_aside_as_damaged
from resnet_jax.local_paths import kind_of

logger = logging.getLogger(__name__)

_REMOVED = ".removed"  # suffix of the name of a checkpoint that is being deleted
# Directories that a killed process can leave behind. Earlier versions used Orbax's names, which add '-' and a number.
_LEFTOVER = re.compile(rf"[0-9]+({re.escape(UNFINISHED)}(-[0-9]+)?|{re.escape(_REMOVED)})")


class Listing(NamedTuple):
    """The checkpoints in a directory."""

    top1: dict[int, float | None]  # step -> evaluation accuracy in 0..1; None: not evaluated, or not readable
    unreadable: list[int]  # steps whose JSON file cannot be read


def open_directory(directory: Path) -> Listing:
    """Creates the directory if it does not exist, deletes incomplete checkpoints, and lists the complete ones.

    Raises:
      OSError: the directory cannot be created or read.
    """
    if os.path.lexists(directory) and not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"it is {kind_of(directory)}, not a directory", str(directory))
    directory.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(directory)
    listing = Listing({}, [])
    for step in numbered(directory):
        try:
            _, listing.top1[step] = files.read_meta(directory / str(step))
        except (DamagedError, UsageError):  # `files.read` raises the error again if this checkpoint is to be restored
            listing.top1[step] = None
            listing.unreadable.append(step)
    return listing


def remove(path: Path) -> None:
    """Deletes a checkpoint: renames it, then deletes its files. Only a warning is logged if that fails.

    If the process is killed meanwhile, the checkpoint is either untouched or renamed. The next `open_directory` deletes
    the files of a renamed one.
    """
    part = path.with_name(path.name + _REMOVED)
    try:
        delete(part)
        path.rename(part)
        delete(part)
    except OSError as error:
        logger.warning("checkpoint %s could not be removed (%s)", path, error.strerror)


def set_aside(path: Path, directory: Path) -> Path:
    """Moves a damaged checkpoint, such as '60', into `directory`; returns its new path.

    If `directory` already contains a '60', the new name is '60-2', '60-3' and so on. If `directory` is on another
    disk, because the directory of the checkpoints is a link, the checkpoint is renamed to '60.damaged' instead.
    """
    directory.mkdir(exist_ok=True)
    target = free_name(directory / path.name)
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return set_aside_as_damaged(path)
    return target


def _clear_leftovers(directory: Path) -> None:
    """Deletes incomplete checkpoints and temporary files, which killed processes left. Logs what cannot be deleted."""
    parts = [path for path in directory.iterdir() if _LEFTOVER.fullmatch(path.name)]
    own = (path for path in (directory / str(step) for step in numbered(directory)) if not path.is_symlink())
    parts += [path / f"{META}.part" for path in own]
    for part in filter(os.path.lexists, parts):
        try:
            delete(part)
        except OSError as error:
            logger.warning("%s, left by an earlier start, could not be removed (%s)", part, error.strerror)
