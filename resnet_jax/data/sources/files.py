"""Image files that are named one by one, without labels."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from resnet_jax.data.sources.folder import ENDINGS
from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError

STDIN = "-"


class FilesSource:
    """Files in the order in which they are named; what cannot be read is the loader's to say."""

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
            raise ValueError("a folder without images, or that cannot be listed") from None
        except PermissionError as error:
            raise ValueError(str(error.strerror)) from None  # waiting does not help

    def where(self, index: int) -> str:
        """See `Source`."""
        return self._paths[index]


def list_images(places: Sequence[str], stdin: Iterable[str]) -> list[str]:
    """The files that places name: files as they are, there or not; the images in folders and in those within, by name.

    Args:
      places: files, folders, or '-' for those that `stdin` lists, one a line.
      stdin: lines.

    Raises:
      UsageError: nothing is named.
    """
    paths: list[str] = []
    for place in places:
        listed = [line.rstrip("\r\n") for line in stdin] if place == STDIN else [place]
        for path in filter(None, listed):
            paths += _in_folder(path) if os.path.isdir(path) else [path]  # noqa: PTH112  raises nothing
    if not paths:
        raise UsageError(
            "no images are named: python main.py --mode=predict --workdir=DIR IMAGE FOLDER ..., or - for a list on "
            "stdin"
        )
    return paths


def _in_folder(folder: str) -> list[str]:
    """The images; the folder itself, which cannot be read as one, if there are none."""
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:  # links in a circle
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(place, name)  # noqa: PTH118
            for name in sorted(names)
            if name.lower().endswith(ENDINGS) and not name.startswith(".")
        ]
    return found or [folder]
