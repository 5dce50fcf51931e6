"""Tars of images and labels in the format of WebDataset: <name>-train-000000.tar, <name>-val-000000.tar, ...

Each sample has an image (`.jpg` and others) and a label: an integer in `.cls`, or 'label' in `.json`. An index
of all samples is built once (`records/tars.py`), so that samples can be read in random order.
"""

import itertools
import json
import re
from pathlib import Path

import numpy as np

from resnet_jax.data.imagenet_classes import check_order, names_by_files
from resnet_jax.data.records.records import Records, ShardRange, select
from resnet_jax.data.records.tars import TarFiles, open_tars
from resnet_jax.data.regular_files import read_regular
from resnet_jax.data.sources.image_folders import ARCHIVES, data_folder, image_folders_instead
from resnet_jax.data.sources.source import Example, Origin
from resnet_jax.data.sources.splits import Split, parse_split
from resnet_jax.errors import UsageError
from resnet_jax.text import printable, some_of

EVAL_NAMES = ("validation", "val", "test")  # if eval_split is None, the first that has tars is used
NAMES_FILES = ("classnames.txt", "class_names.txt", "classes.txt")  # files beside the tars; one class name per line
_INFO = "_info.json"  # written by timm: {"splits": {"train": {"num_samples": 1281167, ...}, ...}}


class WebDatasetSource:
    """One split of tars; its examples are encoded image files."""

    def __init__(self, name: str, files: TarFiles, records: Records, class_names: tuple[str, ...]):
        self.name, self.class_names = name, class_names
        self._files, self._records = files, records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        return Example(self._records[index], self._label(index))

    @property
    def class_counts(self) -> np.ndarray:
        """Implements `Counted`: returns the number of images of each class, [C] int."""
        labels = [self._files.labels(path)[rows.start : rows.stop] for path, rows in self._records.ranges]
        return np.bincount(np.concatenate(labels), minlength=len(self.class_names))

    @property
    def origins(self) -> list[Origin]:
        """Implements `Located`: returns, for each tar, the numbers of the samples that are read."""
        return [Origin(*shard_range) for shard_range in self._records.ranges]

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the tar of an example and the name of the sample."""
        path, number = self._records.locate(index)
        return f"{path} sample {self._files.key(path, number)}"

    def example_id(self, index: int) -> str:
        """Implements `Identified`: returns the file name of the tar and the name of the sample."""
        path, number = self._records.locate(index)
        return f"{Path(path).name} {self._files.key(path, number)}"

    def _label(self, index: int) -> int:
        path, number = self._records.locate(index)
        return int(self._files.labels(path)[number])


def open_source(
    *,
    training: bool = True,
    data_dir: str | None = None,
    train_split: str = "train",
    eval_split: str | None = None,
    cache_dir: Path | None = None,
) -> WebDatasetSource:
    """Opens the training or the evaluation split of tars in the format of WebDataset.

    The number of classes is that of a file of `NAMES_FILES`, or one more than the largest label of the training split.

    Args:
      training: open the training split, otherwise the evaluation split.
      data_dir: the folder of the tars <name>-<split>-<number>.tar, or with a subfolder of tars for each split.
      train_split: name of the training split, or a slice in the syntax of TFDS, see `parse_split`.
      eval_split: the same for the evaluation split; None: the first of `EVAL_NAMES` that has tars.
      cache_dir: directory for the index of the tars if their own folder is read-only.

    Raises:
      UsageError: a tar is missing or damaged, a sample has no label, or a label is out of range or contradicts the name
        of the file.
    """
    if data_dir is None:
        raise UsageError(
            "config.data.source=webdataset needs --config.data.data_dir=DIR with DIR/<name>-train-000000.tar"
        )
    root = data_folder(data_dir)
    train = parse_split("train_split", train_split)
    split = train if training else _eval_split(root, eval_split)
    files, records = _open_records(root, split, cache_dir)
    names = _class_names(root)
    if names is None:
        names = _numbers(root, train, split, cache_dir)
    _check_labels(files, records, len(names))
    named = _check_names(files, records, names)
    return WebDatasetSource(f"webdataset/{split.text}", files, records, named)


def _eval_split(root: Path, given: str | None) -> Split:
    found = given or next((name for name in EVAL_NAMES if _tars(root, name)), EVAL_NAMES[0])
    return parse_split("eval_split", found)


def _open_records(root: Path, split: Split, cache_dir: Path | None) -> tuple[TarFiles, Records]:
    """Opens the tars of all parts of a split. Slices count samples in the order of the tars."""
    tars = [_complete_tars(root, split, part.name) for part in split.parts]
    files = open_tars(list(dict.fromkeys(itertools.chain(*tars))), cache_dir=cache_dir)
    ranges: list[ShardRange] = []
    for part, paths in zip(split.parts, tars, strict=True):
        counts = [files.count(path) for path in paths]
        _check_count(root, part.name, sum(counts), len(paths))
        ranges += select(paths, counts, split.rows(part, sum(counts)))
    return files, Records(files, ranges)


def _tars(root: Path, name: str) -> list[Path]:
    """Returns the tars of a split in the order of their numbers: those in the folder `name`, else *-<name>-*.tar."""
    if any(inside := sorted((root / name).glob("*.tar"))):
        return inside
    pattern = re.compile(rf"(?:.*[-_.])?{re.escape(name)}(?:[-_.]?\d+)?(?:-of-\d+)?\.tar", re.IGNORECASE)
    found = sorted(path for path in root.glob("*.tar") if pattern.fullmatch(path.name))
    return [path for path in found if not path.name.startswith(ARCHIVES)]


def _complete_tars(root: Path, split: Split, name: str) -> list[str]:
    """Returns the paths of the tars of the split `name`, a part of `split`.

    Raises:
      UsageError: there are none, or a number between those of the first and the last is missing.
    """
    found = _tars(root, name)
    if not found:
        raise _no_tars(root, split, name)
    numbers = [int(match[1]) for path in found if (match := re.search(r"(\d+)(?:-of-\d+)?\.tar$", path.name))]
    if len(numbers) == len(found) > 1:
        missing = sorted(set(range(min(*numbers, 1), max(numbers) + 1)) - set(numbers))
        if missing:
            raise UsageError(
                f"{root} lacks tars of {name!r}: {found[-1].name} is there, but not number "
                f"{some_of([str(number) for number in missing])}: copy the missing files"
            )
    return [str(path) for path in found]


def _no_tars(root: Path, split: Split, name: str) -> UsageError:
    """Returns the error for a split without tars; its message names what is in the folder instead."""
    instead = image_folders_instead(root, own="webdataset")
    if instead is not None:
        return UsageError(f"config.data.source=webdataset finds no tars: {instead}")
    found = sorted(path.name for path in root.glob("*.tar")) if root.is_dir() else []
    has = f", only {some_of(found)}" if found else ""
    return UsageError(
        f"{split}: {root} has no tars named <name>-{name}-000000.tar or {name}/<name>.tar{has}: set "
        f"--config.data.data_dir=DIR, or name another split with --config.data.{split.key}=NAME"
    )


def _check_count(root: Path, name: str, count: int, num_tars: int) -> None:
    """Raises UsageError if a split has no samples, or not as many as the file _info.json of timm states."""
    if not count:
        raise UsageError(f"the {num_tars} tars of {name!r} in {root} have no images: copy them again")
    try:
        expected = json.loads(read_regular(root / _INFO))["splits"][name]["num_samples"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return
    if isinstance(expected, int) and expected != count:
        raise UsageError(
            f"the {num_tars} tars of {name!r} in {root} have {count:,} samples, but {expected:,} according to "
            f"{_INFO}: copy the missing files"
        )


def _class_names(root: Path) -> tuple[str, ...] | None:
    """Reads the class names from the first of `NAMES_FILES` that exists; None without such a file."""
    file = next((root / name for name in NAMES_FILES if (root / name).is_file()), None)
    if file is None:
        return None
    try:
        names = tuple(line.strip() for line in read_regular(file).decode().splitlines() if line.strip())
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read ({error}): write one class name per line, or delete it") from None
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{file} names class {printable(twice)!r} twice: give every class a name of its own")
    check_order(names, owner=str(file))
    return names


def _numbers(root: Path, train: Split, split: Split, cache_dir: Path | None) -> tuple[str, ...]:
    """Returns the names '0', '1', ... of the classes up to the largest label of the training split.

    If there are no tars of the training split, as on a machine that only evaluates, uses the labels of `split` instead.
    """
    has_train = all(_tars(root, part.name) for part in train.parts)
    files, records = _open_records(root, train if has_train else split, cache_dir)
    largest = max(int(files.labels(path).max()) for path, _ in records.ranges)
    return tuple(map(str, range(largest + 1)))


def _check_labels(files: TarFiles, records: Records, num_classes: int) -> None:
    """Raises UsageError if a label of a split is out of range."""
    for path, rows in records.ranges:
        labels = files.labels(path)[rows.start : rows.stop]
        wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if len(wrong):
            number = rows.start + int(wrong[0])
            raise UsageError(
                f"{path} sample {printable(files.key(path, number))} has label {files.labels(path)[number]}, outside "
                f"0..{num_classes - 1}: correct {' or '.join(NAMES_FILES)} beside the tars, or name another split"
            )


def _check_names(files: TarFiles, records: Records, names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the WordNet IDs of ImageNet if the names of sampled images show that these are its classes, else `names`.

    Raises UsageError if they are, but the labels have another order, see `names_by_files`.
    """
    located = [records.locate(index) for indices in records.samples() for index in indices]
    examples = [
        (f"{path} sample {printable(files.key(path, k))}", files.key(path, k), int(files.labels(path)[k]))
        for path, k in located
    ]
    return names_by_files(names, examples)
