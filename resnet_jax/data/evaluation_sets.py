"""Finds the data sets that `config.eval.sets` names: folders as they are distributed, and data sets of TFDS.

A folder is one evaluation set if it has a subfolder with images for each class, as ImageNet-A, -R and -Sketch have. A
folder that contains several such folders, directly or in subfolders, is a group of evaluation sets, such as the three
sets of ImageNet-V2, or ImageNet-C with its folders CORRUPTION/SEVERITY/CLASS. A TFDS name without a variant, such as
'imagenet_v2' instead of 'imagenet_v2/topimages', is the group of all prepared variants of this data set.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from resnet_jax.data.sources import Example, SeveralLabels, Source, example_ids, open_source
from resnet_jax.data.sources.image_folders import SUFFIXES, list_folders
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import check_no_system_place, local_path
from resnet_jax.text import printable

_DEEPEST = 4  # largest number of folder levels above the class folders; ImageNet-C has up to three
_SAMPLE = 3  # number of subfolders per folder that are searched for images
_KEY = "config.eval.sets"


class EvaluationSet(NamedTuple):
    """An opened evaluation data set."""

    name: str  # such as 'imagenet-c/gaussian_noise/1' or 'imagenet_v2/topimages'
    group: str  # name of the group, such as 'imagenet-c'; the results of the sets of a group are averaged
    source: Source


class NamedSource:
    """Wraps a source: gives it the name of its evaluation set, and removes the classes without images.

    A data set of TFDS may name 1,000 classes and have images of 200 of them, as ImageNet-A and -R do.
    """

    def __init__(self, source: Source, name: str, present: np.ndarray):
        """Renames a source and renumbers its classes.

        Args:
          source: the examples.
          name: the new name.
          present: indices of the classes that have images, in ascending order.
        """
        self.name = name
        self.class_names = tuple(source.class_names[number] for number in present.tolist())
        self._source = source
        self._new = np.full(len(source.class_names), -1)
        self._new[present] = np.arange(len(present))

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        example = self._source[index]
        return example._replace(label=int(self._new[example.label]))

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the location of an example, for messages."""
        return self._source.where(index)

    def example_id(self, index: int) -> str:
        """Implements `Identified`: returns a name of the example that is the same on every machine."""
        return next(iter(example_ids(self._source, [index])))

    def right_labels(self, index: int) -> tuple[int, ...] | None:
        """Implements `SeveralLabels`: all correct labels of an example, excluding classes that have no images."""
        labels = self._source.right_labels(index) if isinstance(self._source, SeveralLabels) else None
        return labels and tuple(new for label in labels if (new := int(self._new[label])) >= 0)


def open_sets(words: Sequence[str], *, data_dir: str | None, cache_dir: Path | None) -> list[EvaluationSet]:
    """Opens the evaluation sets that the config key `eval.sets` names.

    Args:
      words: paths of folders, or TFDS names such as 'imagenet_a', 'imagenet_v2/topimages' or 'imagenet2012_corrupted'.
      data_dir: directory of the data sets of TFDS; None: the default of TFDS.
      cache_dir: directory for index files of the data if the directory of the data is not writable.

    Raises:
      UsageError: there is no such folder or data set, or it holds no images.
    """
    found = []
    for word in words:
        path = local_path(word, name=_KEY)
        check_no_system_place(path, name=_KEY, cure="give a folder of images")
        if path.is_dir():
            found += list(_open_folders(path))
        else:
            found += list(_open_tfds(word, data_dir, cache_dir))
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{_KEY} names {printable(twice)} twice: name each set once, or rename one of the folders")
    return found


def _open_folders(root: Path) -> Iterator[EvaluationSet]:
    folders = list(_set_folders(root, _DEEPEST))
    group = root.resolve().name
    if not folders:
        raise UsageError(f"{_KEY}: {root} holds no class folders with images: name a folder that holds <class>/<image>")
    for folder in folders:
        source = open_source("folder", training=False, data_dir=str(folder), train_split="train", eval_split="train")
        name = "/".join([group, *folder.relative_to(root).parts])
        yield EvaluationSet(name, group, NamedSource(source, name, np.arange(len(source.class_names))))


def _set_folders(folder: Path, depth: int) -> Iterator[Path]:
    """Yields the folders whose subfolders hold images: `folder` itself, or some below it."""
    inner = list_folders(folder)
    if any(_holds_images(folder / name) for name in inner[:_SAMPLE]):
        yield folder
    elif depth > 1:
        for name in inner:
            yield from _set_folders(folder / name, depth - 1)


def _holds_images(folder: Path) -> bool:
    return any(path.name.lower().endswith(SUFFIXES) for path in folder.iterdir())


def _open_tfds(name: str, data_dir: str | None, cache_dir: Path | None) -> Iterator[EvaluationSet]:
    from resnet_jax.data.sources.tfds import data_root, prepared_variants  # noqa: PLC0415

    root = data_root(data_dir)
    variants = prepared_variants(name, root)
    if not variants:
        raise UsageError(
            f"{_KEY}: {name!r} is neither a folder nor a data set in {root}: give the path of a folder, prepare the "
            "data set with TFDS, or name its directory with --config.data.data_dir=DIR"
        )
    for variant in variants:
        source = open_source("tfds", training=False, name=variant, data_dir=data_dir, cache_dir=cache_dir)
        yield EvaluationSet(variant, name, NamedSource(source, source.name, _present(source)))


def _present(source: Source) -> np.ndarray:
    """Returns the class indices that occur as labels in the source, in ascending order.

    Reads examples in random order until every class of the source has occurred or all examples have been read.
    """
    seen = np.zeros(len(source.class_names), bool)
    for index in np.random.default_rng(0).permutation(len(source)).tolist():
        with contextlib.suppress(OSError, ValueError):  # an unreadable image is reported by the evaluation
            seen[source[index].label] = True
        if seen.all():
            break
    return np.flatnonzero(seen)
