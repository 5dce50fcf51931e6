"""Writes a data set shard by shard, so that an interrupted conversion can be continued."""

import collections
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.file_adapters import FileFormat
from tensorflow_datasets.core.naming import ShardedFileTemplate
from tensorflow_datasets.core.utils.shard_utils import ShardConfig, get_shard_boundaries
from tensorflow_datasets.proto import tf_example_pb2

from resnet_jax.data.sources import Source
from resnet_jax.errors import UsageError
from resnet_jax.files import write_json
from resnet_jax.programs.prepare.builder import Writer
from resnet_jax.programs.prepare.counter import Counter
from resnet_jax.programs.prepare.in_order import in_order
from resnet_jax.programs.prepare.rewriting import Rewrite, Rewritten
from resnet_jax.text import printable

_SUFFIX = "array_record"


class Shard(NamedTuple):
    """The numbers of examples and bytes of a complete shard, as recorded in a JSON file."""

    examples: int
    record_bytes: int  # sum of the sizes of all records
    file_bytes: int
    original_bytes: int  # sum of the sizes of the image files before they were rewritten
    image_bytes: int  # sum of the sizes of the image files as stored
    not_shrunk: dict[str, int]  # reason -> number of images stored at their original size
    not_marked: dict[str, int]  # reason -> number of images stored without restart markers


@dataclasses.dataclass(frozen=True)
class ShardedSplit:
    """A split of a data set and its division into shards.

    Attributes:
      name: 'train' or 'validation'.
      source: the examples.
      template: makes the paths of the shards.
      ends: [S] for each shard, the index of the first example after its last one.
    """

    name: str
    source: Source
    template: ShardedFileTemplate
    ends: tuple[int, ...]

    def path(self, number: int) -> Path:
        """Returns the path of shard `number`, counted from 0."""
        return Path(self.template.sharded_filepath(shard_index=number, num_shards=len(self.ends)))

    def rows(self, number: int) -> range:
        """Returns the indices of the examples in shard `number`, counted from 0."""
        return range(self.ends[number - 1] if number else 0, self.ends[number])


def divide(name: str, source: Source, *, num_bytes: int, directory: Path, dataset: str) -> ShardedSplit:
    """Divides a split into as many shards as TFDS would.

    Args:
      name: name of the split.
      source: its examples.
      num_bytes: estimated size of the split, which determines the number of shards.
      directory: directory of the data set.
      dataset: name of the data set, the first part of the names of its files.
    """
    number = ShardConfig.calculate_number_shards(num_bytes, len(source))
    template = ShardedFileTemplate(directory, dataset_name=dataset, split=name, filetype_suffix=_SUFFIX)
    return ShardedSplit(name, source, template, tuple(get_shard_boundaries(len(source), number)))


def make_features(class_names: tuple[str, ...]) -> tfds.features.FeaturesDict:
    """Returns the features of a converted data set: image, label and boxes."""
    twice = {name for name, count in collections.Counter(class_names).items() if count > 1}  # TFDS needs unique names
    names = [f"{name} ({label})" if name in twice else name for label, name in enumerate(class_names)]
    features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=names),
        "bboxes": tfds.features.Sequence(tfds.features.BBoxFeature()),
    }
    return tfds.features.FeaturesDict(features)


def write_info(
    directory: Path,
    splits: Sequence[ShardedSplit],
    shards: Mapping[str, Sequence[Shard]],
    *,
    version: str,
    metadata: Mapping[str, Any],
) -> None:
    """Writes the files with which TFDS describes a data set.

    Args:
      directory: directory of the data set.
      splits: its splits.
      shards: split name -> its shards.
      version: version of the data set.
      metadata: JSON values for `metadata.json`.
    """
    infos = [
        tfds.core.SplitInfo(
            name=split.name,
            shard_lengths=[shard.examples for shard in shards[split.name]],
            num_bytes=sum(shard.record_bytes for shard in shards[split.name]),
            filename_template=split.template,
        )
        for split in splits
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=make_features(splits[0].source.class_names),
        split_infos=infos,
        version=version,
        check_data=False,
        description=f"A copy of {' and '.join(split.source.name for split in splits)}, made by --mode=prepare.",
        supervised_keys=("image", "label"),
        metadata=tfds.core.MetadataDict(metadata),
    )


@dataclasses.dataclass(frozen=True)
class ShardWriter:
    """Writes the shards of a data set that are not complete yet.

    Attributes:
      records: directory with a JSON file for each complete shard.
      rewrite: changes the image files.
      num_threads: number of threads that read and rewrite.
    """

    records: Path
    rewrite: Rewrite
    num_threads: int

    def write(self, split: ShardedSplit, counter: Counter) -> list[Shard]:
        """Writes the missing shards of a split; returns all shards. Raises UsageError if an example cannot be read."""
        shards = []
        for number in range(len(split.ends)):
            shard = self.complete(split, number)
            if shard is None:
                shard = self._write_shard(split, number, counter)
            else:
                counter.skip(shard.examples)
            shards.append(shard)
        return shards

    def complete(self, split: ShardedSplit, number: int) -> Shard | None:
        """Returns the record of shard `number`, counted from 0; None if the shard is not complete."""
        try:
            shard = Shard(**json.loads(self._record(split, number).read_text()))
            return shard if split.path(number).stat().st_size == shard.file_bytes else None
        except (OSError, ValueError, TypeError):  # no record, or an incomplete one after a power failure
            return None

    def _write_shard(self, split: ShardedSplit, number: int, counter: Counter) -> Shard:
        unfinished = self.records / f"{split.name}.unfinished"
        unfinished.unlink(missing_ok=True)
        tally = _Tally()
        Writer(FileFormat.ARRAY_RECORD).write(unfinished, self._make_records(split, number, tally, counter))
        unfinished.replace(split.path(number))
        shard = Shard(len(split.rows(number)), file_bytes=split.path(number).stat().st_size, **vars(tally))
        write_json(self._record(split, number), shard._asdict())
        return shard

    def _make_records(
        self, split: ShardedSplit, number: int, tally: "_Tally", counter: Counter
    ) -> Iterator[tuple[str, bytes]]:
        rows = split.rows(number)
        read = functools.partial(rewritten, split.source, self.rewrite)
        threads = self.num_threads
        for index, item in zip(rows, in_order(read, rows, num_threads=threads, ahead=4 * threads), strict=True):
            record = _serialize(item)
            tally.add(item, len(record))
            counter.add(1)
            yield str(index), record

    def _record(self, split: ShardedSplit, number: int) -> Path:
        return self.records / f"{split.name}-{number:05}.json"


class Item(NamedTuple):
    """An example as it is stored."""

    image: Rewritten
    label: int
    boxes: np.ndarray  # [N, 4] float32, as in `Example` of the sources
    original_bytes: int  # size of the image file before it was rewritten


class _Tally:
    """Sums over the examples of a shard; its attributes are fields of `Shard`."""

    def __init__(self) -> None:
        self.record_bytes, self.original_bytes, self.image_bytes = 0, 0, 0
        self.not_shrunk: collections.Counter[str] = collections.Counter()
        self.not_marked: collections.Counter[str] = collections.Counter()

    def add(self, item: Item, record_bytes: int) -> None:
        """Adds an example whose record has `record_bytes` bytes."""
        self.record_bytes += record_bytes
        self.original_bytes += item.original_bytes
        self.image_bytes += len(item.image.encoded)
        self.not_shrunk.update(filter(None, [item.image.not_shrunk]))
        self.not_marked.update(filter(None, [item.image.not_marked]))


def _serialize(item: Item) -> bytes:
    """Returns a `tf.train.Example` with the features of `make_features`."""
    example = tf_example_pb2.Example()
    feature = example.features.feature
    feature["image"].bytes_list.value.append(item.image.encoded)
    feature["label"].int64_list.value.append(item.label)
    feature["bboxes"].float_list.value.extend(item.boxes.ravel().tolist())
    return example.SerializeToString()


def rewritten(source: Source, rewrite: Rewrite, index: int) -> Item:
    """Reads an example and rewrites its image.

    Raises:
      UsageError: the example cannot be read, or the source holds pixels instead of image files.
    """
    try:
        example = source[index]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{printable(source.where(index))} cannot be read ({printable(str(error))}): copy it here again"
        ) from None
    if not isinstance(example.image, bytes):
        raise UsageError(f"{printable(source.name)} holds pixels, not image files: there is nothing to convert")
    return Item(rewrite(example.image), example.label, example.boxes, len(example.image))
