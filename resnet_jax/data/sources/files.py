"""A source of image files without labels, given by their paths, for predictions."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from resnet_jax.data.sources.image_folders import SUFFIXES
from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError

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
            return Example(Path(self._paths[index]).read_bytes(), 0)
        except FileNotFoundError:
            raise FileNotFoundError("there is no such file") from None
        except IsADirectoryError:
            raise ValueError("a folder without images, or one that cannot be listed") from None
        except PermissionError as error:
            raise ValueError(str(error.strerror)) from None  # not as an OSError, because the loader retries those

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
    """Lists the images in a folder, recursively; without images, returns the folder, which fails to load."""
    found, seen = [], set()
    for directory, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(directory)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:  # a cycle of links
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(directory, name)  # noqa: PTH118
            for name in sorted(names)
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return found or [folder]
