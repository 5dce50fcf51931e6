"""A source of image files without labels, given by their paths, for predictions."""

import collections
import logging
import os
from collections.abc import Iterable, Sequence

from resnet_jax.data.regular_files import read_regular
from resnet_jax.data.sources.image_folders import FOLDERS_OF_THE_SYSTEM, SUFFIXES, describe_left_out, kind_left_out
from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import system_devices
from resnet_jax.text import labelled, printable

logger = logging.getLogger(__name__)

STDIN = "-"


class FilesSource:
    """Unlabeled image files in the given order; every example has the label 0."""

    def __init__(self, paths: Sequence[str]):
        self.name = "files"
        self.class_names: tuple[str, ...] = ("unknown",)
        self._paths = tuple(paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Example:
        try:
            if os.path.isdir(self._paths[index]):  # noqa: PTH112  never raises
                raise ValueError("a folder without images, or one that cannot be listed")
            return Example(read_regular(self._paths[index]), 0)
        except FileNotFoundError:
            raise FileNotFoundError("there is no such file") from None
        except PermissionError as error:
            raise ValueError(str(error.strerror)) from None  # the loader would retry after a plain OSError

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the path of the image file."""
        return self._paths[index]


def list_images(arguments: Sequence[str], stdin: Iterable[str]) -> list[str]:
    """Expands command-line arguments to the paths of image files.

    Args:
      arguments: files, whether they exist or not; folders, searched recursively for images, in the order of names;
        or '-' for the lines of `stdin`.
      stdin: lines with one file or folder each.

    Raises:
      UsageError: the arguments name no file or folder.
    """
    paths: list[str] = []
    for argument in arguments:
        listed = [line.rstrip("\r\n") for line in stdin] if argument == STDIN else [argument]
        for path in filter(None, listed):
            paths += _in_folder(path) if os.path.isdir(path) else [path]  # noqa: PTH112  never raises
    if not paths:
        raise UsageError(
            "no images are named: python main.py --mode=predict --workdir=DIR IMAGE FOLDER ..., or - for a list on "
            "stdin"
        )
    return paths


def _in_folder(folder: str) -> list[str]:
    """Lists the images in a folder, recursively; returns [folder] if there are none, so that reading it fails."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    left_out: collections.Counter[str] = collections.Counter()
    for directory, folders, names in os.walk(folder, onerror=_warn, followlinks=True):
        status = os.stat(directory)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:  # a link leads to a folder that has been listed
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if status.st_dev in system_devices():  # a link to /proc, for example, where links lead everywhere
            folders.clear()
            left_out.update([FOLDERS_OF_THE_SYSTEM])
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                found.append(os.path.join(directory, name))  # noqa: PTH118
            else:
                left_out.update(kind_left_out(name))
    if left_out:
        logger.info(labelled("left out", describe_left_out(left_out, folder)))
    return found or [folder]


def _warn(error: OSError) -> None:
    logger.warning("%s cannot be listed (%s)", printable(str(error.filename)), error.strerror)
