"""A folder of image files, <data_dir>/<split>/<class>/<file>, read as torchvision's `ImageFolder` reads it.

Class k is the k-th folder of a split in the order of names. Unlike `ImageFolder`, this source skips names that start
with a dot, and it needs no splits: without an evaluation folder, or for <data_dir>/<class>/<file>, some of the training
images are held out for evaluation (`hash_split.py`). `folder_layout.py` finds the folders of the splits. A split may
also be a folder of images without class folders and a file of labels (`flat_folder.py`).
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnet_jax.data.class_names import alike
from resnet_jax.data.regular_files import read_regular
from resnet_jax.data.sources.flat_folder import flat_classes, is_flat, list_flat_files
from resnet_jax.data.sources.folder_layout import Layout, find_layout
from resnet_jax.data.sources.hash_split import fingerprint, held_out, name_hashes, stratified_order
from resnet_jax.data.sources.image_folders import (
    count_outside_classes,
    describe_left_out,
    folders_above,
    list_classes,
    list_images,
)
from resnet_jax.data.sources.kaggle import in_order_of_mapping
from resnet_jax.data.sources.source import Example, Origin
from resnet_jax.data.sources.splits import Part, Split
from resnet_jax.errors import UsageError
from resnet_jax.text import printable


class _Listing:
    """The image files of one split folder, ordered by class, then by folder, then by file name.

    Attributes:
      names: [N] paths relative to `folder`.
      labels: [N] int32.
    """

    def __init__(self, folder: Path, near: Sequence[Path], class_names: Sequence[str]):
        """Lists the images in `folder`; without class folders, reads a file of labels in one of the folders `near`."""
        self.folder = folder
        if is_flat(folder):
            self.names, self.labels, self.left_out = list_flat_files(folder, near, class_names)
            return
        above = folders_above(folder)
        by_class = [list_images(folder, name, above) for name in class_names]
        self.names = [name for files in by_class for name in files.images]
        sizes = [len(files.images) for files in by_class]
        self.labels = np.repeat(np.arange(len(class_names), dtype=np.int32), sizes)
        self.left_out = sum((files.left_out for files in by_class), count_outside_classes(folder))

    def rows(self, split: Split, part: Part) -> np.ndarray:
        """Returns the indices of the listed images in a part of a split: [M] int, sorted. A slice has all classes."""
        rows = split.rows(part, len(self.names))
        if part.is_whole:
            return np.asarray(rows)
        return np.sort(stratified_order(self.labels, name_hashes(self.names))[rows.start : rows.stop])


class FolderSource:
    """The image files of one split."""

    def __init__(self, name: str, class_names: Sequence[str], parts: Sequence[tuple[_Listing, np.ndarray]]):
        """Takes some of the files of each listing.

        Args:
          name: name of the source, see `Source`.
          class_names: names of the class folders, in the order of their labels.
          parts: listings, each with the indices of its files to take: [N] int; at least one index in all.
        """
        self.name, self.class_names = name, tuple(class_names)
        left_out = {listing.folder: listing.left_out for listing, _ in parts if listing.left_out}
        self.left_out = "; ".join(describe_left_out(files, folder.name) for folder, files in left_out.items())
        self.division = ""  # describes in words how training and evaluation images were divided; '' if the user did
        self.origins = [Origin(os.path.realpath(listing.folder), rows) for listing, rows in parts]
        self._roots = [os.fsencode(listing.folder) for listing, _ in parts]
        self._root_ends = np.cumsum([len(rows) for _, rows in parts])
        files = [os.fsencode(listing.names[row]) for listing, rows in parts for row in rows]
        # All paths in one byte string, and the end of each, because a million strings take 100 MB per worker process.
        self._files = b"".join(files)
        self._ends = np.cumsum([len(file) for file in files], dtype=np.int64)
        self._labels = np.concatenate([listing.labels[rows] for listing, rows in parts])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        return Example(read_regular(self._path(index)), int(self._labels[index]))

    @property
    def class_counts(self) -> np.ndarray:
        """Implements `Counted`: returns the number of images of each class, [C] int."""
        return np.bincount(self._labels, minlength=len(self.class_names))

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the path of the image file."""
        return os.fsdecode(self._path(index))

    def example_id(self, index: int) -> str:
        """Implements `Identified`: returns the path of the file in the folder of its split, such as 'cat/1.jpg'.

        If the source consists of several splits, the path begins with the name of the split.
        """
        root = [os.path.basename(self._root(index))] if len(self._roots) > 1 else []  # noqa: PTH119  bytes
        return os.fsdecode(b"/".join([*root, self._file(index)]))

    def _path(self, index: int) -> bytes:
        return os.path.join(self._root(index), self._file(index))  # noqa: PTH118  bytes

    def _root(self, index: int) -> bytes:
        return self._roots[np.searchsorted(self._root_ends, index, side="right")]

    def _file(self, index: int) -> bytes:
        return self._files[self._ends[index - 1] if index else 0 : self._ends[index]]


def open_source(
    *,
    training: bool = True,
    data_dir: str | None = None,
    train_split: str = "train",
    eval_split: str | None = None,
    eval_fraction: float = 0.1,
) -> FolderSource:
    """Opens the training or the evaluation split of a folder of image files.

    Args:
      training: open the training split, otherwise the evaluation split.
      data_dir: the folder that holds the splits, or the classes; in the latter case 'train' names all images.
      train_split: names of training folders or slices of them, see `parse_split`. A slice takes images of every class,
        in the order of `stratified_order`.
      eval_split: the same for evaluation; None: the first folder that exists of 'val', 'validation', 'test' and
        'valid'; if `data_dir` has no other folder than that of the training split, images of that split are held out.
      eval_fraction: fraction of the images of each class that is held out.

    Raises:
      UsageError: a folder is missing or cannot be listed, a class has no images, the classes of the splits differ, or a
        slice is empty.
    """
    if data_dir is None:
        raise UsageError(
            "config.data.source=folder needs --config.data.data_dir=DIR with DIR/train/<class>/<image> or "
            "DIR/<class>/<image>"
        )
    layout = find_layout(data_dir, train_split, eval_split)
    classes = _list_classes(layout)
    if layout.holds_out:
        return _hold_out(layout, classes, training=training, fraction=eval_fraction)
    split = layout.train if training else layout.evaluation
    if split is None:
        raise layout.no_evaluation()
    layout.check(split)
    parts = _choose(layout, split, classes)
    name = f"/{split.text}" if _is_sliced(split) else f"/{Path(split.text).name}"
    return FolderSource(f"folder{_mark(parts) if _is_sliced(split) else ''}{name}", classes, parts)


def _list_classes(layout: Layout) -> list[str]:
    """Returns the names of the classes of the training split, in the order of their labels."""
    folder = layout.folder(layout.train.parts[0].name)
    if is_flat(folder):
        return flat_classes(folder, layout.label_folders)
    return in_order_of_mapping(list_classes(folder), layout.label_folders)


def _hold_out(layout: Layout, classes: list[str], *, training: bool, fraction: float) -> FolderSource:
    """Divides the training images; opens those that remain for training or, if not `training`, those held out."""
    chosen = _choose(layout, layout.train, classes)
    labels = np.concatenate([listing.labels[rows] for listing, rows in chosen])
    hashes = name_hashes(listing.names[row] for listing, rows in chosen for row in rows)
    is_chosen = held_out(labels, hashes, fraction) ^ training
    if not is_chosen.any():
        raise UsageError(
            f"config.data.eval_split is unset, and no class in {layout.root} has two images, so that one could be held "
            "out for evaluation: add images"
        )
    ends = np.cumsum([len(rows) for _, rows in chosen])[:-1]
    masks = np.split(is_chosen, ends)
    parts = [(listing, rows[mask]) for (listing, rows), mask in zip(chosen, masks, strict=True)]
    source = FolderSource(f"folder{_mark(parts)}/{layout.train.text if training else 'held_out'}", classes, parts)
    source.division = f"{100 * fraction:g} % of each class held out, by file name (data.eval_fraction)"
    return source


def _choose(layout: Layout, split: Split, classes: list[str]) -> list[tuple[_Listing, np.ndarray]]:
    """Lists the folder of each part of a split: the folders 'train' and 'extra' for the split 'train+extra'.

    Returns:
      For each part: the listing of its folder, and the indices of the listed images that belong to the part.

    Raises:
      UsageError: a folder has other classes than `classes`, those of the training split.
    """
    chosen = []
    for part in split.parts:
        folder = layout.folder(part.name)
        difference = [] if is_flat(folder) else sorted(set(list_classes(folder)) ^ set(classes))
        if difference:
            raise _different_classes(layout, split, folder, difference)
        listing = _Listing(folder, layout.label_folders, classes)
        chosen.append((listing, listing.rows(split, part)))
    return chosen


def _different_classes(layout: Layout, split: Split, folder: Path, difference: list[str]) -> UsageError:
    """Returns the error for a folder that has other classes than the training split; they differ by `difference`."""
    train_folder = layout.folder(layout.train.parts[0].name)
    both = f"{printable(str(train_folder))} and {printable(str(folder))}"
    twins = next(iter(alike(difference)), None)
    if twins is not None:
        first, second = twins if (train_folder / twins[0]).is_dir() else twins[::-1]
        return UsageError(
            f"{both} name a class differently, {first!a} and {second!a}: these differ only in blanks or in "
            "the form of Unicode characters; rename one of the two folders"
        )
    names = ", ".join(map(printable, difference[:5]))
    return UsageError(
        f"{both} have different classes ({names}): give both a folder for each class, or name another folder with "
        f"--config.data.{split.key}=NAME"
    )


def _is_sliced(split: Split) -> bool:
    """Whether any part of a split is a slice, not a whole folder."""
    return not all(part.is_whole for part in split.parts)


def _mark(parts: Sequence[tuple[_Listing, np.ndarray]]) -> str:
    """Returns the suffix of the name of a source that has only some of the images of its folders.

    It is '+' and a hash of the file names of these images, so that two parts of equal size have different names. A
    source of whole folders gets no suffix, because its name must equal the one in checkpoints of earlier versions.
    """
    hashes = [name_hashes(listing.names[row] for row in rows) for listing, rows in parts]
    return f"+{fingerprint(np.concatenate(hashes))}"
