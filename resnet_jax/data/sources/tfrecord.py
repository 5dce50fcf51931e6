"""ImageNet as r1 had it: shards of `tf.train.Example`, made by its `build_imagenet_data.py`."""

import re
from pathlib import Path

import numpy as np

from resnet_jax.data.imagenet_classes import synsets
from resnet_jax.data.records.records import Part, Records
from resnet_jax.data.records.tfrecords import open_tfrecords
from resnet_jax.data.sources.samples import check_samples
from resnet_jax.data.sources.source import NO_BOXES, Example
from resnet_jax.data.sources.tf_example import Features, floats, one_bytes, one_integer, parse
from resnet_jax.errors import UsageError

_BOX = tuple(f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax"))


class TFRecordSource:
    """One split; images stay encoded."""

    def __init__(self, name: str, records: Records, *, class_names: tuple[str, ...], label_offset: int):
        self.name, self.class_names = name, class_names
        self._records, self._label_offset = records, label_offset

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        features = parse(self._records[index])
        return Example(one_bytes(features, "image/encoded"), self._label(features, index), _boxes(features))

    def where(self, index: int) -> str:
        """See `Source`."""
        return self._records.where(index)

    def check(self, index: int) -> None:
        """Raises UsageError if an example is unfit, or is not of the class that its label says."""
        try:
            features = parse(self._records[index])
            one_bytes(features, "image/encoded")
            label = self._label(features, index)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.where(index)} is no image with a label as r1 stores them ({error}): see docs/data.md"
            ) from None
        stored = features["image/class/synset"].bytes_list.value if "image/class/synset" in features else ()
        synset = stored[0].decode(errors="replace") if stored else None
        if synset is not None and _are_synsets(self.class_names) and synset != self.class_names[label]:
            raise UsageError(
                f"{self.where(index)} shows a {synset}, but its label {label + self._label_offset} means "
                f"{self.class_names[label]}: set --config.data.label_offset (1 for r1's shards), "
                "or --config.model.num_classes if these are not the 1,000 classes of ImageNet"
            )

    def _label(self, features: Features, index: int) -> int:
        stored = one_integer(features, "image/class/label")
        if not 0 <= stored - self._label_offset < len(self.class_names):
            last = self._label_offset + len(self.class_names) - 1
            raise UsageError(
                f"{self.where(index)} has label {stored}, outside {self._label_offset}..{last}: "
                "set --config.data.label_offset (1 for r1's shards) or --config.model.num_classes"
            )
        return stored - self._label_offset


def open_source(
    *,
    training: bool,
    data_dir: str | None,
    train_split: str,
    eval_split: str | None,
    label_offset: int,
    num_classes: int | None,
    cache_dir: Path | None,
) -> TFRecordSource:
    """Opens a split.

    Args:
      training: the training split, else the evaluation split.
      data_dir: the folder that holds the shards, <split>-00000-of-01024 and so on.
      train_split: name of the training split.
      eval_split: name of the evaluation split; None: 'validation', 'test' or 'val', the first there is.
      label_offset: the stored label of class 0.
      num_classes: None: the 1,000 of ImageNet, with 'background' in front where `label_offset` is 0.
      cache_dir: where the index of the records is kept if it cannot be beside the shards.

    Raises:
      UsageError: a shard is missing or damaged, or labels and classes do not agree, as far as a sample tells.
    """
    if data_dir is None:
        raise UsageError("config.data.source=tfrecord needs --config.data.data_dir=DIR with DIR/train-00000-of-01024")
    root = Path(data_dir).expanduser()
    split = train_split if training else eval_split
    if split is None:
        names = ("validation", "test", "val")
        split = next((name for name in names if any(root.glob(f"{name}-*-of-*"))), names[0])
    paths = _shards(root, split)
    files = open_tfrecords(paths, cache_dir=cache_dir)
    records = Records(files, [Part(path, 0, files.count(path)) for path in paths])
    source = TFRecordSource(
        f"tfrecord/{split}",
        records,
        class_names=_class_names(label_offset, num_classes),
        label_offset=label_offset,
    )
    if not len(source):
        raise UsageError(f"the {len(paths)} shards of {split!r} in {root} hold no example: copy or prepare them again")
    check_samples(records, source.check)
    return source


def _shards(root: Path, split: str) -> list[str]:
    """The paths of all shards of a split."""
    pattern = re.compile(rf"{re.escape(split)}-(\d+)-of-(\d+)")
    found = sorted(path.name for path in root.glob(f"{split}-*-of-*") if pattern.fullmatch(path.name))
    if not found:
        raise UsageError(f"there is no {split}-00000-of-01024 or the like in {root}: set --config.data.data_dir=DIR")
    totals = sorted({name.rsplit("-", 1)[1] for name in found})
    if len(totals) > 1:
        raise UsageError(f"{root} holds {split!r} in {' and in '.join(totals)} shards: leave one of them there")
    digits = len(found[0].split("-")[-3])
    wanted = [f"{split}-{number:0{digits}}-of-{totals[0]}" for number in range(int(totals[0]))]
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise UsageError(
            f"{root} lacks {len(missing)} of the {len(wanted)} shards of {split!r}, {missing[0]} for one: copy them"
        )
    return [str(root / name) for name in wanted]


def _class_names(label_offset: int, num_classes: int | None) -> tuple[str, ...]:
    """The 1,000 synsets in the order of their labels, with 'background' in front for 1,001; else numbers."""
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
