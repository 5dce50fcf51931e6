"""A folder of image files, <data_dir>/<split>/<class>/<file>, read as torchvision's `ImageFolder` reads it.

Classes are the folders of a split, sorted by name; images may lie in folders within them, and links are followed.
Unlike there, what is hidden is left out: files and folders whose names begin with a dot, as '.ipynb_checkpoints' and
macOS's '._x.jpg'.
"""

import os
from pathlib import Path

import numpy as np

from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")


class FolderSource:
    """The files of one split, ordered by class, folder and name; class k is the k-th of the sorted class folders."""

    def __init__(self, root: Path, class_names: list[str]):
        """Lists the files below `root`; reads none.

        Raises:
          UsageError: a class has no images, or a folder cannot be listed.
        """
        self.name = f"folder/{root.name}"
        self.class_names = tuple(class_names)
        self._root = os.fsencode(root)
        files: list[bytes] = []
        labels: list[int] = []
        for label, class_name in enumerate(class_names):
            found = _images(root, class_name)
            files += map(os.fsencode, found)
            labels += [label] * len(found)
        # One string and where each name ends: a million Python strings would take 100 MB in every worker process.
        self._files = b"".join(files)
        self._ends = np.cumsum([len(name) for name in files], dtype=np.int64)
        self._labels = np.array(labels, np.int32)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        with open(self._path(index), "rb", buffering=0) as file:  # noqa: PTH123  a bytes path
            return Example(file.read(), int(self._labels[index]))

    def where(self, index: int) -> str:
        """See `Source`."""
        return os.fsdecode(self._path(index))

    def _path(self, index: int) -> bytes:
        start = self._ends[index - 1] if index else 0
        return os.path.join(self._root, self._files[start : self._ends[index]])  # noqa: PTH118  bytes


def open_source(*, training: bool, data_dir: str | None, train_split: str, eval_split: str | None) -> FolderSource:
    """Opens a split.

    Args:
      training: the training split, else the evaluation split.
      data_dir: the folder that holds the splits.
      train_split: name of the training folder.
      eval_split: name of the evaluation folder; None: 'val', 'validation' or 'test', the first there is.

    Raises:
      UsageError: a folder is missing or cannot be listed, a class has no images, or the classes of the splits differ.
    """
    if data_dir is None:
        raise UsageError("config.data.source=folder needs --config.data.data_dir=DIR with DIR/train/<class>/<image>")
    root = Path(data_dir).expanduser()
    if eval_split is None:
        names = ("val", "validation", "test")
        eval_split = next((name for name in names if os.path.isdir(root / name)), names[0])  # noqa: PTH112  raises nothing
    classes, own = _classes(root / train_split), _classes(root / (train_split if training else eval_split))
    if own != classes:
        odd = sorted(set(own) ^ set(classes))
        raise UsageError(f"{root}: the classes of {train_split} and {eval_split} differ in {', '.join(odd[:5])}")
    return FolderSource(root / (train_split if training else eval_split), classes)


def _classes(split: Path) -> list[str]:
    classes = sorted(_list(str(split))[0])
    if not classes:
        raise UsageError(f"{split} has no folders of classes: the images of class k belong in {split}/<name of k>/")
    return classes


def _images(root: Path, class_name: str) -> list[str]:
    """The images of a class as paths below `root`, in the order of `ImageFolder`."""
    names, folders = {}, [class_name]
    for folder in folders:  # grows
        inner, names[folder] = _list(f"{root}/{folder}")
        folders += [f"{folder}/{name}" for name in inner]
    # By the whole path of the folder: 'a-b' is before 'a/b'.
    found = [f"{folder}/{name}" for folder in sorted(folders) for name in sorted(names[folder])]
    if not found:
        raise UsageError(
            f"no image in {root / class_name} ({', '.join(ENDINGS)}): every class needs some, in each split"
        )
    return found


def _list(folder: str) -> tuple[list[str], list[str]]:
    """The names of the folders and of the images in a folder, in any order."""
    folders, images = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                is_image = entry.name.lower().endswith(ENDINGS)
                # Links that are named as images are not looked up: a million of them take minutes on a network disk.
                if entry.is_dir(follow_symlinks=not is_image):
                    folders.append(entry.name)
                elif is_image:
                    images.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"there is no folder {folder}: name its parent with --config.data.data_dir=DIR") from None
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be listed ({error.strerror}): may you read it, is the disk all right?"
        ) from None
    return folders, images
