"""A folder of image files, <data_dir>/<split>/<class>/<file>, read as torchvision's `ImageFolder` reads it.

Class k is the k-th folder of a split in the order of names. Images may be in subfolders, and links are followed. Unlike
`ImageFolder`, it skips files and folders whose names start with a dot, such as '.ipynb_checkpoints' and '._x.jpg' of
macOS.
"""

import os
from pathlib import Path

import numpy as np

from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")


class FolderSource:
    """The image files of one split, ordered by class, then by folder, then by file name."""

    def __init__(self, root: Path, class_names: list[str]):
        """Lists the files of all classes.

        Args:
          root: folder of the split.
          class_names: names of the class folders, in the order of their labels.

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
        # All paths in one byte string, and the end of each: a million Python strings take 100 MB per worker process.
        self._files = b"".join(files)
        self._ends = np.cumsum([len(name) for name in files], dtype=np.int64)
        self._labels = np.array(labels, np.int32)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        with open(self._path(index), "rb", buffering=0) as file:  # noqa: PTH123  pathlib does not take bytes
            return Example(file.read(), int(self._labels[index]))

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the path of the image file."""
        return os.fsdecode(self._path(index))

    def _path(self, index: int) -> bytes:
        start = self._ends[index - 1] if index else 0
        return os.path.join(self._root, self._files[start : self._ends[index]])  # noqa: PTH118  bytes


def open_source(
    *,
    training: bool = True,
    data_dir: str | None = None,
    train_split: str = "train",
    eval_split: str | None = None,
) -> FolderSource:
    """Opens the training or the evaluation split of a folder of image files.

    Args:
      training: open the training split, otherwise the evaluation split.
      data_dir: the folder that holds the splits.
      train_split: name of the training folder.
      eval_split: name of the evaluation folder; None: the first that exists of 'val', 'validation' and 'test'.

    Raises:
      UsageError: a folder is missing or cannot be listed, a class has no images, or the classes of the splits differ.
    """
    if data_dir is None:
        raise UsageError("config.data.source=folder needs --config.data.data_dir=DIR with DIR/train/<class>/<image>")
    root = Path(data_dir).expanduser()
    if eval_split is None:
        names = ("val", "validation", "test")
        eval_split = next((name for name in names if os.path.isdir(root / name)), names[0])  # noqa: PTH112  never raises
    split = train_split if training else eval_split
    train_classes, classes = _classes(root / train_split), _classes(root / split)
    if classes != train_classes:
        difference = ", ".join(sorted(set(classes) ^ set(train_classes))[:5])
        raise UsageError(
            f"{root / train_split} and {root / eval_split} have different classes ({difference}): "
            "give both a folder for each class"
        )
    return FolderSource(root / split, classes)


def _classes(split: Path) -> list[str]:
    classes = sorted(_list(str(split))[0])
    if not classes:
        raise UsageError(f"{split} has no class folders: put the images of each class into {split}/<class name>/")
    return classes


def _images(root: Path, class_name: str) -> list[str]:
    """Lists the images of a class as paths relative to `root`, in the order of `ImageFolder`."""
    names, folders = {}, [class_name]
    for folder in folders:  # the loop appends subfolders to the list that it iterates over
        inner, names[folder] = _list(f"{root}/{folder}")
        folders += [f"{folder}/{name}" for name in inner]
    # Sorts folders by their whole path, so that 'a-b' comes before 'a/b'; a sorted os.walk would list 'a/b' first.
    found = [f"{folder}/{name}" for folder in sorted(folders) for name in sorted(names[folder])]
    if not found:
        raise UsageError(
            f"{root / class_name} has no image ({', '.join(SUFFIXES)}): every class needs images in each split"
        )
    return found


def _list(folder: str) -> tuple[list[str], list[str]]:
    """Returns the names of the subfolders and of the images in a folder, unordered."""
    folders, images = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                is_image = entry.name.lower().endswith(SUFFIXES)
                # Resolving a million links to images would take minutes on a network disk: trust their suffixes.
                if entry.is_dir(follow_symlinks=not is_image):
                    folders.append(entry.name)
                elif is_image:
                    images.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"there is no folder {folder}: name its parent folder with --config.data.data_dir=DIR"
        ) from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be listed ({error.strerror}): check its permissions and the disk") from None
    return folders, images
