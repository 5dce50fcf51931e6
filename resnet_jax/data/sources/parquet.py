"""Parquet files in the layout of Hugging Face, such as `imagenet-1k`: data/train-00000-of-00294.parquet, ...

Each row has an encoded image, `image.bytes`, and a label. The class names come from the schema metadata that Hugging
Face stores in every file, or from the dataset card README.md.
"""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from resnet_jax.data.imagenet_classes import check_order, names_by_files
from resnet_jax.data.records.records import Records, ShardRange, sample, select
from resnet_jax.data.records.scan import scan
from resnet_jax.data.sources.image_folders import data_folder, image_folders_instead
from resnet_jax.data.sources.source import Example, Origin
from resnet_jax.data.sources.splits import Split, parse_split
from resnet_jax.errors import UsageError
from resnet_jax.text import printable, some_of

try:
    import pyarrow as pa

    from resnet_jax.data.records.parquet_rows import ParquetRows
    from resnet_jax.data.sources.parquet_columns import Columns, card_names, find_columns, open_parquet
except ImportError:
    raise UsageError("config.data.source=parquet needs the package pyarrow: pip install -e '.[parquet]'") from None

EVAL_NAMES = ("validation", "val", "test")  # if eval_split is None, the first that has files is used
_FOLDERS = ("", "data", "default")  # places of the files in `data_dir`; Hugging Face's conversion writes 'default'
_CARD = "README.md"


class _File(NamedTuple):
    """The labels and metadata that are read from a Parquet file when a split is opened."""

    group_rows: np.ndarray  # [G] int64, number of rows of each row group
    largest_group: int  # bytes of the largest row group, not compressed
    labels: np.ndarray  # [N] int64
    names: dict[int, str]  # row -> file name of the image, for a sample of rows of the first row group


class ParquetSource:
    """One split of Parquet files; its examples are encoded image files."""

    def __init__(self, name: str, records: Records, labels: dict[str, np.ndarray], class_names: tuple[str, ...]):
        self.name, self.class_names = name, class_names
        self._records, self._labels = records, labels

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        path, number = self._records.locate(index)
        return Example(self._records[index], int(self._labels[path][number]))

    @property
    def class_counts(self) -> np.ndarray:
        """Implements `Counted`: returns the number of images of each class, [C] int."""
        labels = [self._labels[path][rows.start : rows.stop] for path, rows in self._records.ranges]
        return np.bincount(np.concatenate(labels), minlength=len(self.class_names))

    @property
    def origins(self) -> list[Origin]:
        """Implements `Located`: returns, for each file, the numbers of the rows that are read."""
        return [Origin(*shard_range) for shard_range in self._records.ranges]

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the file of an example and its row."""
        path, number = self._records.locate(index)
        return f"{path} row {number}"

    def example_id(self, index: int) -> str:
        """Implements `Identified`: returns the name of the file and the number of the row."""
        path, number = self._records.locate(index)
        return f"{Path(path).name} {number}"


def open_source(
    *,
    training: bool = True,
    data_dir: str | None = None,
    train_split: str = "train",
    eval_split: str | None = None,
) -> ParquetSource:
    """Opens the training or the evaluation split of Parquet files.

    Args:
      training: open the training split, otherwise the evaluation split.
      data_dir: the folder that holds <split>-00000-of-00294.parquet, ... or <split>/0000.parquet, ..., or the folder
        above it if it is named 'data' or 'default'.
      train_split: name of the training split, or a slice in the syntax of TFDS, see `parse_split`.
      eval_split: the same for the evaluation split; None: the first of `EVAL_NAMES` that has files.

    Raises:
      UsageError: a file is missing or damaged, has no columns of images and labels, or a label is out of range or
        contradicts the name of the image file.
    """
    if data_dir is None:
        raise UsageError(
            "config.data.source=parquet needs --config.data.data_dir=DIR with DIR/data/train-00000-of-00294.parquet"
        )
    root = data_folder(data_dir)
    split = parse_split("train_split", train_split) if training else _eval_split(root, eval_split)
    paths = {part.name: _complete_files(root, split, part.name) for part in split.parts}
    every = list(itertools.chain(*paths.values()))
    columns = find_columns(every[0])
    files = dict(zip(every, scan(lambda path: _read_file(path, columns), every, title="labels"), strict=True))
    rows = ParquetRows(
        columns.image,
        {path: file.group_rows for path, file in files.items()},
        max(file.largest_group for file in files.values()),
    )
    ranges: list[ShardRange] = []
    for part in split.parts:
        counts = [rows.count(path) for path in paths[part.name]]
        if not any(counts):
            raise UsageError(f"the Parquet files of {part.name!r} in {root} have no rows: copy them again")
        ranges += select(paths[part.name], counts, split.rows(part, sum(counts)))
    records = Records(rows, ranges)
    names = _class_names(root, columns)
    if names is None and not training and _files(root, parse_split("train_split", train_split).parts[0].name):
        names = open_source(training=True, data_dir=data_dir, train_split=train_split).class_names
    if names is None:
        names = tuple(map(str, range(1 + max(int(file.labels.max(initial=0)) for file in files.values()))))
    _check_labels(records, files, names)
    labels = {path: file.labels for path, file in files.items()}
    return ParquetSource(f"parquet/{split.text}", records, labels, _check_names(files, names))


def _eval_split(root: Path, given: str | None) -> Split:
    found = given or next((name for name in EVAL_NAMES if _files(root, name)), EVAL_NAMES[0])
    return parse_split("eval_split", found)


def _files(root: Path, name: str) -> list[Path]:
    """Returns the Parquet files of a split, in the order of their names."""
    pattern = re.compile(rf"{re.escape(name)}(-\d+-of-\d+(-\w+)?)?\.parquet")
    for folder in _FOLDERS:
        found = [path for path in (root / folder).glob("*.parquet") if pattern.fullmatch(path.name)]
        if found or (found := list((root / folder / name).glob("*.parquet"))):
            return sorted(found)
    return []


def _complete_files(root: Path, split: Split, name: str) -> list[str]:
    """Returns the paths of all Parquet files of the split `name`, a part of `split`.

    Raises:
      UsageError: there are none, or some are missing.
    """
    found = _files(root, name)
    if not found:
        instead = image_folders_instead(root, own="parquet")
        if instead is not None:
            raise UsageError(f"config.data.source=parquet finds no Parquet files: {instead}")
        others = sorted({path.name for folder in _FOLDERS for path in (root / folder).glob("*.parquet")})
        has = f", only {some_of(others)}" if others else ""
        raise UsageError(
            f"{split}: {root} has no files {name}-00000-of-00001.parquet, data/{name}-... or {name}/0000.parquet{has}: "
            f"set --config.data.data_dir=DIR, or name another split with --config.data.{split.key}=NAME"
        )
    numbered = [match for path in found if (match := re.search(r"-(\d+)-of-(\d+)(-\w+)?\.parquet", path.name))]
    totals = sorted({match[2] for match in numbered})
    if len(totals) > 1:
        raise UsageError(f"{root} holds {name!r} in {' and in '.join(totals)} files: remove all but one of these sets")
    missing = sorted(set(range(int(totals[0]))) - {int(match[1]) for match in numbered}) if totals else []
    if missing:
        raise UsageError(
            f"{root} lacks {len(missing)} of the {int(totals[0])} Parquet files of {name!r}, for example number "
            f"{missing[0]:05d}: copy the missing files"
        )
    return list(map(str, found))


def _read_file(path: str, columns: Columns) -> _File:
    """Reads the labels of a Parquet file, the sizes of its row groups, and a sample of file names."""
    try:
        with open_parquet(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            labels = file.read(columns=[columns.label], use_threads=False).column(0)
            names: dict[int, str] = {}
            if columns.path and groups:
                rows = sample(path, groups[0].num_rows)
                found = file.read_row_group(0, columns=[columns.path], use_threads=False).column(0).to_pylist()
                names = {row: str((found[row] or {}).get("path")) for row in rows}
            return _File(
                group_rows=np.array([group.num_rows for group in groups], np.int64),
                largest_group=max((group.total_byte_size for group in groups), default=0),
                labels=labels.fill_null(-1).to_numpy().astype(np.int64),
                names=names,
            )
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UsageError(
            f"{path} is damaged or has other columns than the first file ({printable(str(error))[:200]}): copy it again"
        ) from None


def _class_names(root: Path, columns: Columns) -> tuple[str, ...] | None:
    """Returns the class names that the files or the dataset card README.md give; None if neither does."""
    card = next((root / folder / _CARD for folder in ("", "..") if (root / folder / _CARD).is_file()), None)
    names = columns.class_names or (None if card is None else card_names(card, columns.label))
    if names is not None:
        check_order(names, owner=str(root))
    return names


def _check_labels(records: Records, files: dict[str, _File], names: tuple[str, ...]) -> None:
    """Raises UsageError if a label of a split is out of range."""
    for path, rows in records.ranges:
        labels = files[path].labels[rows.start : rows.stop]
        wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
        if len(wrong):
            raise UsageError(
                f"{path} row {rows.start + wrong[0]} has label {labels[wrong[0]]}, outside 0..{len(names) - 1}: the "
                "split may have no labels, name another one (config.data.train_split or eval_split)"
            )


def _check_names(files: dict[str, _File], names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the class names, checked against the names of a sample of image files, see `names_by_files`."""
    examples = [
        (f"{path} row {row}", name, int(file.labels[row]))
        for path, file in files.items()
        for row, name in file.names.items()
    ]
    return names_by_files(names, examples)
