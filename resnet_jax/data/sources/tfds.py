"""Random access to prepared TensorFlow Datasets (TFDS), stored as ArrayRecord or TFRecord, without TensorFlow."""

import contextlib
import importlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError

from resnet_jax.data.records.array_records import open_array_records
from resnet_jax.data.records.records import RecordFiles, Records, ShardRange, check_samples
from resnet_jax.data.records.tfrecords import open_tfrecords
from resnet_jax.data.sources.image_folders import data_folder, image_folders_instead
from resnet_jax.data.sources.source import NO_BOXES, Example, Origin
from resnet_jax.data.sources.splits import check_length
from resnet_jax.data.sources.tf_example import floats, integers, one_bytes, one_integer, parse
from resnet_jax.data.sources.tfds_features import Keys, classification
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import local_path

# Data sets that come with this package: name -> module of the builder. They are prepared on first use.
_BUNDLED = {"digits": "resnet_jax.data.datasets.digits"}


class TfdsSource:
    """One split of a prepared TFDS data set; its examples are encoded image files."""

    def __init__(self, name: str, records: Records, keys: Keys, class_names: tuple[str, ...]):
        self.name, self.class_names = name, class_names
        self._records, self._keys = records, keys

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        features = parse(self._records[index])  # four times as fast as the deserialization by TFDS
        label = one_integer(features, self._keys.label)
        if not 0 <= label < len(self.class_names):
            raise UsageError(
                f"{self.where(index)} has label {label}, outside 0..{len(self.class_names) - 1}: "
                f"{self.name} may have no labels, name another split (config.data.train_split or eval_split)"
            )
        boxes = NO_BOXES if self._keys.boxes is None else floats(features, self._keys.boxes).reshape(-1, 4)
        return Example(one_bytes(features, self._keys.image), label, boxes)

    def right_labels(self, index: int) -> tuple[int, ...] | None:
        """Implements `SeveralLabels`: returns all correct labels of an example; None if no example has several."""
        if self._keys.labels is None:
            return None
        return integers(parse(self._records[index]), self._keys.labels)

    @property
    def origins(self) -> list[Origin]:
        """Implements `Located`: returns, for each shard, the indices in it of the records of this source."""
        return [Origin(*shard_range) for shard_range in self._records.ranges]

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the shard of an example and its record number."""
        return self._records.where(index)

    def example_id(self, index: int) -> str:
        """Implements `Identified`: returns the file name of the shard and the number of the record."""
        return self._records.record_id(index)

    def check(self, index: int) -> None:
        """Raises UsageError if the label of an example is out of range; ignores examples that cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            self[index]


def open_source(
    *,
    training: bool = True,
    name: str = "imagenet2012",
    data_dir: str | None = None,
    train_split: str = "train",
    eval_split: str | None = None,
    cache_dir: Path | None = None,
) -> TfdsSource:
    """Opens the training or the evaluation split of a prepared TFDS data set.

    Args:
      training: open the training split, otherwise the evaluation split.
      name: TFDS name of the data set, such as 'imagenet2012', 'imagenette/320px-v2' or 'cifar10:3.0.2'.
      data_dir: directory of prepared data sets; None: `TFDS_DATA_DIR` if set, else the default of TFDS.
      train_split: TFDS split or slice, such as 'train[:99%]'.
      eval_split: TFDS split or slice; None: 'validation' if the data set has it, else 'test'.
      cache_dir: directory for the index of TFRecord shards if their own directory is read-only.

    Raises:
      UsageError: the data set is not prepared, in another format, incomplete, damaged, or not an image classification;
        the split does not exist; or a label in a sample is out of range.
    """
    builder = _find(name, data_root(data_dir))
    split = train_split if training else _eval_split(builder, eval_split)
    keys, class_names = classification(builder)
    records = _open_records(builder, split, "train_split" if training else "eval_split", cache_dir)
    source = TfdsSource(f"{_full_name(builder)}/{split}", records, keys, class_names)
    check_samples(records, source.check)
    return source


def _eval_split(builder: tfds.core.DatasetBuilder, given: str | None) -> str:
    """Returns the evaluation split: the given one, else 'validation' if the data set has it, else 'test'."""
    found = given or next((name for name in ("validation", "test") if name in builder.info.splits), None)
    if found is None:
        raise UsageError(
            f"config.data.eval_split is unset, and data set {builder.name!r} has no split validation or test, its "
            f"splits are {', '.join(builder.info.splits)}: name slices, for example "
            "--config.data.train_split='train[:90%]' --config.data.eval_split='train[90%:]'"
        )
    return found


def data_root(data_dir: str | None) -> Path:
    """Returns the directory of prepared data sets: `data_dir`, else `TFDS_DATA_DIR`, else the default of TFDS.

    Raises:
      UsageError: that directory is not a local path, or is below an unknown home directory.
    """
    if data_dir is not None:
        return data_folder(data_dir).resolve()
    if given := os.environ.get("TFDS_DATA_DIR"):
        return data_folder(given, name="TFDS_DATA_DIR").resolve()
    return local_path(tfds.core.constants.DATA_DIR, name="the default of config.data.data_dir").resolve()


def prepared_variants(name: str, root: Path) -> list[str]:
    """Returns the names of the prepared data sets that a name stands for; [] if there are none.

    These are `name` itself, or 'NAME/CONFIG' for each config of a data set that has configs.

    Args:
      name: such as 'imagenet_a', 'imagenet_v2/topimages', or 'imagenet_v2' for all its configs.
      root: directory of the data sets, from `data_root`.
    """

    def is_prepared(folder: Path) -> bool:
        return any(tfds.core.Version.is_valid(path.parent.name) for path in folder.glob("*/dataset_info.json"))

    plain, _, version = name.partition(":")
    if is_prepared(root / plain):
        return [name]
    configs = sorted(path.name for path in (root / plain).glob("*") if is_prepared(path))
    return [f"{plain}/{config}" + (f":{version}" if version else "") for config in configs]


def _find(name: str, directory: Path) -> tfds.core.DatasetBuilder:
    bundled = _BUNDLED.get(re.split("[:/]", name)[0])
    if bundled is not None:
        importlib.import_module(bundled)  # registers the builder with TFDS
    try:
        if bundled is not None:
            return _prepare(name, directory)
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=directory)
    # TFDS raises these exceptions for files that it cannot read and for unknown names, configs and versions.
    except (tfds.core.DatasetNotFoundError, ParseError, OSError, ValueError, AssertionError) as error:
        damage = None
        with contextlib.suppress(OSError):  # if `directory` is unreadable, TFDS's own error is reported below
            damage = _find_damage(name, directory)
        if damage is not None:
            raise UsageError(f"{damage}: copy it here again, or prepare it again") from None
        instead = image_folders_instead(directory)
        if instead is not None:
            raise UsageError(f"config.data.source=tfds finds no data set {name!r}: {instead}") from None
        if not isinstance(error, tfds.core.DatasetNotFoundError):
            raise UsageError(f"data set {name!r} cannot be opened: {' '.join(str(error).split())[:200]}") from None
        raise UsageError(
            f"data set {name!r} is not prepared in {directory}: prepare it (docs/data.md says how), name its directory "
            "with --config.data.data_dir=DIR or TFDS_DATA_DIR=DIR, or run without data: --config.data.source=synthetic"
        ) from None


def _find_damage(name: str, directory: Path) -> str | None:
    """Returns the message that an info file of a data set is missing or damaged; None if there is no such damage."""
    root, *parts = re.split("[:/]", name)
    files = ("dataset_info.json", "features.json")
    found = {
        path.parent for file in files for depth in ("*", "*/*") for path in (directory / root).glob(f"{depth}/{file}")
    }
    for folder in sorted(found):
        # TFDS gives a directory the name of a version only when it is complete.
        if tfds.core.Version.is_valid(folder.name) and set(parts) <= set(folder.relative_to(directory).parts):
            for file in files:
                if not (folder / file).exists():
                    return f"{folder / file} is missing"
                if not _is_json_object(folder / file):
                    return f"{folder / file} cannot be read or is damaged"
    return None


def _is_json_object(file: Path) -> bool:
    """Returns whether a file can be read and holds a JSON object that is not empty."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and bool(content)


def _full_name(builder: tfds.core.DatasetBuilder) -> str:
    """Returns 'NAME/CONFIG:VERSION+FINGERPRINT'; the fingerprint, if any, depends on the order of the examples."""
    variant = "" if builder.builder_config is None else f"/{builder.builder_config.name}"
    try:
        metadata = builder.info.metadata  # reads metadata.json
        fingerprint = metadata.get("fingerprint") if isinstance(metadata, tfds.core.MetadataDict) else None
    except (OSError, ValueError):
        file = builder.data_path / "metadata.json"
        raise UsageError(f"{file} cannot be read or is damaged: copy it here again, or prepare it again") from None
    return f"{builder.name}{variant}:{builder.version}" + (f"+{fingerprint}" if isinstance(fingerprint, str) else "")


def _prepare(name: str, directory: Path) -> tfds.core.DatasetBuilder:
    builder = tfds.builder(name, data_dir=directory)
    marker = builder.data_path / "dataset_info.json"  # exists once TFDS has moved the complete data set there
    if marker.exists():
        return builder
    instead = image_folders_instead(directory)
    if instead is not None:
        raise UsageError(f"config.data.source=tfds would prepare the bundled data set {name!r} here, but {instead}")
    builder = tfds.builder(name, data_dir=directory, file_format="array_record")
    tfds.disable_progress_bar()
    try:
        # Hides TFDS's message about a download: nothing is downloaded.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except OSError as error:
        if not marker.exists():  # otherwise, another process has just prepared the data set
            raise UsageError(
                f"data set {name!r} cannot be prepared in {directory} ({error}): "
                "name a writable directory with --config.data.data_dir=DIR or TFDS_DATA_DIR=DIR"
            ) from None
    if not marker.exists():  # TFDS takes any existing directory for a complete one
        raise UsageError(
            f"{marker} is missing: copy it here again, or prepare it again, after removing {builder.data_path}"
        )
    return tfds.builder(name, data_dir=directory)


def _open_records(builder: tfds.core.DatasetBuilder, split: str, key: str, cache_dir: Path | None) -> Records:
    """Opens the shards of a split; `key`, 'train_split' or 'eval_split', is the config key that names the split."""
    instructions = _file_instructions(builder, split, key)
    totals = {shard.filename: shard.examples_in_shard for shard in instructions}
    paths = list(totals)
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        raise UsageError(
            f"data set {builder.name!r} lacks {len(missing)} of {len(paths)} files of split {split!r}, "
            f"for example {missing[0]}: copy or prepare it again"
        )
    tfrecord = builder.info.file_format == tfds.core.FileFormat.TFRECORD
    files: RecordFiles = open_tfrecords(paths, cache_dir=cache_dir) if tfrecord else open_array_records(paths)
    for path, total in totals.items():
        if files.count(path) != total:
            raise UsageError(
                f"{path} holds {files.count(path)} records, but {total} according to the dataset_info.json beside it: "
                "copy or prepare it again"
            )
    return Records(files, [ShardRange(shard.filename, shard.skip, shard.take) for shard in instructions])


def _file_instructions(builder: tfds.core.DatasetBuilder, split: str, key: str) -> list[Any]:
    """Returns the `FileInstruction`s of TFDS for a split: filename, skip, take, examples_in_shard."""
    if builder.info.file_format not in (tfds.core.FileFormat.ARRAY_RECORD, tfds.core.FileFormat.TFRECORD):
        raise UsageError(
            f"data set {builder.name!r} in {builder.data_dir} is stored as {builder.info.file_format.value}: "
            "prepare it with file_format='array_record' (docs/data.md says how)"
        )
    check_length(key, split)
    try:
        instructions = builder.info.splits[split].file_instructions
    except (KeyError, ValueError, AssertionError):
        splits = ", ".join(f"{name} ({info.num_examples:,} examples)" for name, info in builder.info.splits.items())
        raise UsageError(
            f"config.data.{key}={split!r}: data set {builder.name!r} has no such split or slice, its splits are "
            f"{splits}: name one of them or a slice such as train[:90%]"
        ) from None
    if not instructions:
        raise UsageError(
            f"config.data.{key}={split!r} selects no example of data set {builder.name!r}: take a larger slice"
        )
    return instructions
