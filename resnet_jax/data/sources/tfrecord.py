"""ImageNet in TFRecord shards of `tf.train.Example`, as `build_imagenet_data.py` of TensorFlow Models writes them.

The r1.x ResNet of the TensorFlow Models repository trains on these shards.
"""

import itertools
import re
from pathlib import Path

import numpy as np

from resnet_jax.data.imagenet_classes import synsets
from resnet_jax.data.records.records import Records, check_samples, select
from resnet_jax.data.records.tfrecords import open_tfrecords
from resnet_jax.data.sources.image_folders import data_folder, image_folders_instead
from resnet_jax.data.sources.source import NO_BOXES, Example, Origin
from resnet_jax.data.sources.splits import Split, parse_split
from resnet_jax.data.sources.tf_example import Features, floats, one_bytes, one_integer, parse
from resnet_jax.errors import UsageError
from resnet_jax.text import printable

_BOX = tuple(f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax"))


class TFRecordSource:
    """One split of ImageNet in TFRecord shards; its examples are encoded image files."""

    def __init__(self, name: str, records: Records, *, class_names: tuple[str, ...], label_offset: int):
        self.name, self.class_names = name, class_names
        self._records, self._label_offset = records, label_offset

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        features = parse(self._records[index])
        return Example(one_bytes(features, "image/encoded"), self._label(features, index), _boxes(features))

    @property
    def origins(self) -> list[Origin]:
        """Implements `Located`: returns, for each shard, the numbers of the records that are read."""
        return [Origin(*shard_range) for shard_range in self._records.ranges]

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the shard of an example and its record number."""
        return self._records.where(index)

    def example_id(self, index: int) -> str:
        """Implements `Identified`: returns the file name of the shard and the number of the record."""
        return self._records.record_id(index)

    def check(self, index: int) -> None:
        """Raises UsageError if an example has no image or label, or if its label contradicts its WordNet ID."""
        try:
            features = parse(self._records[index])
            one_bytes(features, "image/encoded")
            label = self._label(features, index)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.where(index)} is not a labeled image in the format of TensorFlow's r1 ResNet ({error}): "
                "see docs/data.md"
            ) from None
        stored = features["image/class/synset"].bytes_list.value if "image/class/synset" in features else ()
        synset = stored[0].decode(errors="replace") if stored else None
        if synset is not None and _are_synsets(self.class_names) and synset != self.class_names[label]:
            raise UsageError(
                f"{self.where(index)} has WordNet ID {printable(synset)[:40]}, but its label "
                f"{label + self._label_offset} stands for {self.class_names[label]}: set --config.data.label_offset "
                "(1 for shards of TensorFlow's r1 ResNet), or --config.model.num_classes if these are not the 1,000 "
                "classes of ImageNet"
            )

    def _label(self, features: Features, index: int) -> int:
        stored = one_integer(features, "image/class/label")
        if not 0 <= stored - self._label_offset < len(self.class_names):
            last = self._label_offset + len(self.class_names) - 1
            raise UsageError(
                f"{self.where(index)} has label {stored}, outside {self._label_offset}..{last}: "
                "set --config.data.label_offset (1 for shards of TensorFlow's r1 ResNet) or --config.model.num_classes"
            )
        return stored - self._label_offset


def open_source(
    *,
    training: bool = True,
    data_dir: str | None = None,
    train_split: str = "train",
    eval_split: str | None = None,
    label_offset: int = 1,
    num_classes: int | None = None,
    cache_dir: Path | None = None,
) -> TFRecordSource:
    """Opens the training or the evaluation split of TFRecord shards in the format of `build_imagenet_data.py`.

    Args:
      training: open the training split, otherwise the evaluation split.
      data_dir: the folder that holds the shards <split>-00000-of-01024, <split>-00001-of-01024, ...
      train_split: name of the training split, or a slice in the syntax of TFDS, see `parse_split`.
      eval_split: the same for the evaluation split; None: the first that exists of 'validation', 'test' and 'val'.
      label_offset: the label that the shards store for class 0; 1 in shards that `build_imagenet_data.py` has written.
      num_classes: number of classes; None: the 1,000 of ImageNet, preceded by 'background' if `label_offset` is 0.
      cache_dir: directory for the index of record offsets if the folder of the shards is read-only.

    Raises:
      UsageError: a shard is missing or damaged, or the labels of a sample do not match the classes.
    """
    if data_dir is None:
        raise UsageError("config.data.source=tfrecord needs --config.data.data_dir=DIR with DIR/train-00000-of-01024")
    root = data_folder(data_dir)
    split = parse_split("train_split", train_split) if training else _eval_split(root, eval_split)
    records = _open_records(root, split, cache_dir)
    source = TFRecordSource(
        f"tfrecord/{split.text}",
        records,
        class_names=_class_names(label_offset, num_classes),
        label_offset=label_offset,
    )
    check_samples(records, source.check)
    return source


def _eval_split(root: Path, given: str | None) -> Split:
    """Returns the evaluation split: the given one, else the first that has shards of 'validation', 'test' and 'val'."""
    names = ("validation", "test", "val")
    return parse_split("eval_split", given or next((name for name in names if _shard_names(root, name)), names[0]))


def _open_records(root: Path, split: Split, cache_dir: Path | None) -> Records:
    """Opens the shards of all parts of a split. Slices count records in the order of the shards, as in TFDS."""
    shards = [_shards(root, split, part.name) for part in split.parts]
    files = open_tfrecords(list(dict.fromkeys(itertools.chain(*shards))), cache_dir=cache_dir)
    ranges = []
    for part, paths in zip(split.parts, shards, strict=True):
        counts = [files.count(path) for path in paths]
        if not any(counts):
            raise UsageError(
                f"the {len(paths)} shards of {part.name!r} in {root} are empty: copy or prepare them again"
            )
        ranges += select(paths, counts, split.rows(part, sum(counts)))
    return Records(files, ranges)


def _shard_names(root: Path, split: str) -> list[str]:
    pattern = re.compile(rf"{re.escape(split)}-(\d+)-of-(\d+)")
    return sorted(path.name for path in root.glob("*-*-of-*") if pattern.fullmatch(path.name))


def _shards(root: Path, split: Split, name: str) -> list[str]:
    """Returns the paths of all shards of the split `name`, a part of `split`, in order."""
    found = _shard_names(root, name)
    if not found:
        raise _no_shards(root, split, name)
    totals = sorted({name.rsplit("-", 1)[1] for name in found})
    if len(totals) > 1:
        raise UsageError(f"{root} holds {name!r} in {' and in '.join(totals)} shards: remove all but one of these sets")
    digits = len(found[0].split("-")[-3])
    expected = [f"{name}-{number:0{digits}}-of-{totals[0]}" for number in range(int(totals[0]))]
    missing = sorted(set(expected) - set(found))
    if missing:
        raise UsageError(
            f"{root} lacks {len(missing)} of the {len(expected)} shards of {name!r}, for example {missing[0]}: "
            "copy the missing files"
        )
    return [str(root / shard) for shard in expected]


def _no_shards(root: Path, split: Split, name: str) -> UsageError:
    """Returns the error for a split without shards; its message names what is in the folder instead."""
    instead = image_folders_instead(root)
    if instead is not None:
        return UsageError(f"config.data.source=tfrecord finds no shards: {instead}")
    shards = (re.fullmatch(r"(.+)-\d+-of-\d+", path.name) for path in root.glob("*-*-of-*"))
    found = sorted({match[1] for match in shards if match})
    if found:
        return UsageError(
            f"{split}: {root} has no shards named {name}-00000-of-01024 or similar, only of {', '.join(found)}: name "
            f"one of these with --config.data.{split.key}=NAME"
        )
    return UsageError(f"{root} has no shards named {name}-00000-of-01024 or similar: set --config.data.data_dir=DIR")


def _class_names(label_offset: int, num_classes: int | None) -> tuple[str, ...]:
    """Returns the names of 1,000 classes: WordNet IDs; of 1,001: 'background' and WordNet IDs; else: '0', '1', ..."""
    if num_classes is None:
        num_classes = 1001 if label_offset == 0 else 1000
    if num_classes not in (1000, 1001):
        return tuple(str(label) for label in range(num_classes))
    return ("background", *synsets()) if num_classes == 1001 else synsets()


def _are_synsets(class_names: tuple[str, ...]) -> bool:
    return not class_names[-1].isdigit()


def _boxes(features: Features) -> np.ndarray:
    sides = [floats(features, key) for key in _BOX]
    return np.stack(sides, axis=1) if any(map(len, sides)) else NO_BOXES
