"""Lists image files that lie in one folder without class folders; a file of labels gives the class of each image.

ImageNet's validation images have this form in the copies of Kaggle (with LOC_val_solution.csv), of image-net.org (with
a development kit) and of many others (with val.txt). Images with the names of ILSVRC2012's validation set need no such
file.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from resnet_jax.data.imagenet_classes import labels as imagenet_labels
from resnet_jax.data.imagenet_classes import synset_of
from resnet_jax.data.regular_files import read_regular
from resnet_jax.data.sources.image_folders import LeftOut, list_flat
from resnet_jax.data.sources.imagenet_devkit import find_devkit, validation_classes
from resnet_jax.errors import UsageError
from resnet_jax.text import printable, some_of

_INSIDE = "images"  # folder of the images in the folder of a Tiny ImageNet split
_FILE_COLUMNS = ("imageid", "image_id", "image", "filename", "file_name", "file", "path", "name", "id")
_LABEL_COLUMNS = ("predictionstring", "label", "class", "class_name", "category", "target", "synset", "wnid")
_KAGGLE = "predictionstring"  # Kaggle's column of a class and boxes: 'n03995372 85 1 499 272 n03995372 30 ...'


class FlatFiles(NamedTuple):
    """The images of a folder without class folders, ordered by class, then by name."""

    names: list[str]  # paths relative to the folder
    labels: np.ndarray  # [N] int32
    left_out: LeftOut


class _Labels(NamedTuple):
    """The content of a file of labels: the class of each image."""

    file: Path
    of_name: dict[str, str]  # name of an image file, or its name without ending -> name or number of its class


def is_flat(folder: Path) -> bool:
    """Whether a folder has images, but no class folders. Raises UsageError if it cannot be listed."""
    images, folders, _ = list_flat(folder)
    return (bool(images) and not folders) or (folders == [_INSIDE] and _label_file(folder, ()) is not None)


def flat_classes(folder: Path, near: Sequence[Path]) -> list[str]:
    """Returns the classes that the file of labels of a flat folder names, sorted; numerically if all are numbers.

    Raises:
      UsageError: there is no file of labels.
    """
    labels = _find_labels(folder, near)
    names = {labels.of_name[key] for name in _images(folder)[0] if (key := _key(labels, name)) is not None}
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)


def list_flat_files(folder: Path, near: Sequence[Path], class_names: Sequence[str]) -> FlatFiles:
    """Lists the images of a flat folder with their labels.

    Args:
      folder: the folder of the images.
      near: further folders in which a file of labels may be.
      class_names: names of the classes, in the order of their labels.

    Raises:
      UsageError: there is no file of labels; it has no label for an image, or one that is not a class; or it
        contradicts the name of a file of ImageNet.
    """
    names, left_out = _images(folder)
    labels = _find_labels(folder, near)
    missing = [name for name in names if _key(labels, name) is None]
    if missing:
        raise UsageError(
            f"{labels.file} has no label for {len(missing):,} of {len(names):,} images in {folder}, for example "
            f"{printable(missing[0])}: add them to it, or move them elsewhere"
        )
    texts = [labels.of_name[str(_key(labels, name))] for name in names]
    numbers = _numbers(texts, class_names, labels.file)
    for name, number in zip(names, numbers, strict=True):
        synset = synset_of(name)
        if synset is not None and class_names[number] != synset and class_names[number] in imagenet_labels():
            raise UsageError(
                f"{labels.file} gives {printable(name)} class {class_names[number]}, but this image of ILSVRC2012 is "
                f"of class {synset}: correct the file, or remove it, because the names of these images suffice"
            )
    order = sorted(range(len(names)), key=lambda row: (numbers[row], names[row]))
    return FlatFiles([names[row] for row in order], np.array(numbers, np.int32)[order], left_out)


def _images(folder: Path) -> tuple[list[str], LeftOut]:
    """Returns the paths of the images, relative to the folder, and counts of the files left out."""
    images, folders, left_out = list_flat(folder)
    if folders != [_INSIDE]:
        return sorted(images), left_out
    images, _, left_out = list_flat(folder / _INSIDE)
    return sorted(f"{_INSIDE}/{name}" for name in images), left_out


def _find_labels(folder: Path, near: Sequence[Path]) -> _Labels:
    """Reads the file of labels of a folder, or the development kit; without either, uses the names of the images."""
    file = _label_file(folder, near)
    if file is not None:
        return _Labels(file, _read(file))
    names = [Path(name).name for name in _images(folder)[0]]
    kit = next(filter(None, map(find_devkit, near)), None)
    if kit is not None and any(name.startswith("ILSVRC2012_val_") for name in names):
        classes = validation_classes(kit)
        return _Labels(kit, {f"ILSVRC2012_val_{number:08d}": name for number, name in enumerate(classes, start=1)})
    known = {name: synset for name in names if (synset := synset_of(name)) is not None}
    if len(known) == len(names):
        return _Labels(folder, known)
    raise UsageError(
        f"{folder} has no class folders: put the images of each class into {folder}/<class name>/, or add "
        f"{near[0] / f'{folder.name}.csv'} with lines FILE,CLASS (LOC_{folder.name}_solution.csv of Kaggle and "
        "ILSVRC2012_devkit_t12.tar.gz of image-net.org are read too)"
    )


def _label_file(folder: Path, near: Sequence[Path]) -> Path | None:
    """Returns the first file of labels that exists, in `folder` or in those of `near`."""
    split = folder.name
    texts = [f"{stem}.{ending}" for stem in (split, f"{split}_labels") for ending in ("csv", "tsv", "txt")]
    beside = [f"LOC_{split}_solution.csv", f"{split}_annotations.txt", *texts]
    inside = [folder / name for name in (*beside, "labels.csv", "labels.tsv", "labels.txt")]
    candidates = [*inside, *(place / name for place in near for name in beside)]
    return next((path for path in candidates if path.is_file()), None)


def _read(file: Path) -> dict[str, str]:
    """Reads a file of labels, see `_Labels.of_name`. Raises UsageError if it is unreadable or contradicts itself."""
    try:
        lines = read_regular(file).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read ({error}): write lines FILE,CLASS in UTF-8") from None
    of_name: dict[str, str] = {}
    for name, label in _pairs(file, lines):
        base = name.replace("\\", "/").rpartition("/")[2]
        for key in {base, Path(base).stem}:
            if of_name.setdefault(key, label) != label:
                raise UsageError(
                    f"{file} gives {printable(base)} two classes, {printable(of_name[key])} and {printable(label)}: "
                    "correct it"
                )
    return of_name


def _pairs(file: Path, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields the file name and the class of each line. Columns are separated by commas, tabs or blanks."""
    filled = [line for line in lines if line.strip()]
    if file.suffix == ".csv" or (filled and "\t" not in filled[0] and "," in filled[0]):
        rows = list(csv.reader(filled))
    elif filled and "\t" in filled[0]:
        rows = [line.split("\t") for line in filled]
    else:
        rows = [line.split(None, 1) for line in filled]
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None or not rows:
        shown = f"line {printable(' '.join(short))[:60]!r}" if short else "no line"
        raise UsageError(f"{file} has {shown}, but each line must be FILE,CLASS: correct it")
    heads = [head.strip().lower() for head in rows[0]]
    columns = [next((heads.index(n) for n in known if n in heads), None) for known in (_FILE_COLUMNS, _LABEL_COLUMNS)]
    has_heads = columns[0] is not None and columns[1] is not None
    name, label = (columns[0] or 0, columns[1] or 0) if has_heads else (0, 1)
    first_word = has_heads and heads[label] == _KAGGLE
    for row in rows[has_heads:]:
        if max(name, label) < len(row):
            yield row[name].strip(), row[label].split()[0] if first_word else row[label].strip()


def _key(labels: _Labels, name: str) -> str | None:
    """Returns the key of an image file in `_Labels.of_name`; None if there is none."""
    base = name.rpartition("/")[2]
    return next((key for key in (base, Path(base).stem) if key in labels.of_name), None)


def _numbers(texts: Sequence[str], class_names: Sequence[str], file: Path) -> list[int]:
    """Returns the number of the class of each image, which the file of labels gives by name or by number."""
    by_name = {name: number for number, name in enumerate(class_names)}
    unknown = sorted({text for text in texts if text not in by_name})
    if not unknown:
        return [by_name[text] for text in texts]
    if all(re.fullmatch(r"\d{1,9}", text) for text in texts):
        numbers = list(map(int, texts))
        if max(numbers) < len(class_names):
            return numbers
        raise UsageError(
            f"{file} numbers the classes up to {max(numbers)}, outside 0..{len(class_names) - 1}: number them from 0 "
            "in the order of the names of the training folders, or give the names"
        )
    raise UsageError(
        f"{file} names classes that training does not have ({some_of(list(map(printable, unknown)))}): give both the "
        "same classes"
    )
