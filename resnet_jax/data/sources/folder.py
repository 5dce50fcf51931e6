"""A folder of image files: <data_dir>/<split>/<class>/<file>, as PyTorch users have ImageNet."""

import os
from pathlib import Path

import numpy as np

from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff")


class FolderSource:
    """The files of one split, ordered by class and name; class k is the k-th of the sorted class folders."""

    def __init__(self, root: Path, class_names: list[str]):
        """Lists the files below `root`; reads none. Raises UsageError for a class without images."""
        self.name = f"folder/{root.name}"
        self.class_names = tuple(class_names)
        self._root = os.fsencode(root)
        files, labels = [], []
        for label, class_name in enumerate(class_names):
            found = _images(root / class_name)
            files += [os.fsencode(f"{class_name}/{name}") for name in found]
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
      UsageError: a folder is missing, a class has no images, or the splits have not the same classes.
    """
    if data_dir is None:
        raise UsageError("config.data.source=folder needs --config.data.data_dir=DIR with DIR/train/<class>/<image>")
    root = Path(data_dir).expanduser()
    if eval_split is None:
        eval_split = next((name for name in ("val", "validation", "test") if (root / name).is_dir()), "val")
    classes, own = _classes(root / train_split), _classes(root / (train_split if training else eval_split))
    if own != classes:
        odd = sorted(set(own) ^ set(classes))
        raise UsageError(f"{root}: the classes of {train_split} and {eval_split} differ in {', '.join(odd[:5])}")
    return FolderSource(root / (train_split if training else eval_split), classes)


def _classes(split: Path) -> list[str]:
    if not split.is_dir():
        raise UsageError(f"there is no folder {split}: name its parent with --config.data.data_dir=DIR")
    classes = sorted(entry.name for entry in os.scandir(split) if entry.is_dir())
    if not classes:
        raise UsageError(f"{split} has no folders of classes: the images of class k belong in {split}/<name of k>/")
    return classes


def _images(folder: Path) -> list[str]:
    names = os.listdir(folder)  # noqa: PTH208  a million Path objects would take a minute
    found = sorted(name for name in names if name.lower().endswith(_ENDINGS))
    if not found:
        raise UsageError(f"no image in {folder} ({', '.join(_ENDINGS)}): every class needs some, in each split")
    return found
