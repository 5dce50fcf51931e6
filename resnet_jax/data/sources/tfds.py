"""TensorFlow Datasets prepared as ArrayRecord or TFRecord, read at random without TensorFlow."""

import contextlib
import importlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError

from resnet_jax.data.records.array_records import open_array_records
from resnet_jax.data.records.records import Part, RecordFiles, Records
from resnet_jax.data.records.tfrecords import open_tfrecords
from resnet_jax.data.sources.samples import check_samples
from resnet_jax.data.sources.source import NO_BOXES, Example
from resnet_jax.data.sources.tf_example import floats, one_bytes, one_integer, parse
from resnet_jax.errors import UsageError

# Data sets that come with this package: name -> module of the builder. They prepare themselves on first use.
_BUNDLED = {"digits": "resnet_jax.data.datasets.digits"}


class _Keys(NamedTuple):
    """The names of the features that are read."""

    image: str
    label: str
    boxes: str | None  # None: there are none


class TfdsSource:
    """One split of a prepared data set; images stay encoded."""

    def __init__(self, name: str, records: Records, keys: _Keys, class_names: tuple[str, ...]):
        self.name, self.class_names = name, class_names
        self._records, self._keys = records, keys

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        features = parse(self._records[index])  # a quarter of the time that TFDS's own deserialisation takes
        label = one_integer(features, self._keys.label)
        if not 0 <= label < len(self.class_names):
            raise UsageError(
                f"{self.where(index)} has label {label}, outside 0..{len(self.class_names) - 1}: "
                f"does {self.name} have labels at all? name another split"
            )
        boxes = NO_BOXES if self._keys.boxes is None else floats(features, self._keys.boxes).reshape(-1, 4)
        return Example(one_bytes(features, self._keys.image), label, boxes)

    def where(self, index: int) -> str:
        """See `Source`."""
        return self._records.where(index)

    def check(self, index: int) -> None:
        """Raises UsageError if the label is out of range; what cannot be read is for the loader to deal with."""
        with contextlib.suppress(OSError, ValueError):
            self[index]


def open_source(
    *,
    training: bool,
    name: str,
    data_dir: str | None,
    train_split: str,
    eval_split: str | None,
    cache_dir: Path | None,
) -> TfdsSource:
    """Opens a split of a data set.

    Args:
      training: the training split, else the evaluation split.
      name: as TFDS has it: 'imagenet2012', 'imagenette/320px-v2', 'cifar10:3.0.2'.
      data_dir: where data sets are prepared; None: `TFDS_DATA_DIR`, else TFDS's own default.
      train_split: a TFDS split or slice, as 'train[:99%]'.
      eval_split: likewise; None: 'validation' where the data set has it, else 'test'.
      cache_dir: where the index of TFRecord data is kept if it cannot be beside them; None: nowhere else.

    Raises:
      UsageError: not prepared, in another format, no such split, no image classification, files missing or damaged,
        or labels out of range, as far as a sample tells.
    """
    builder = _find(name, data_root(data_dir))
    split = train_split if training else eval_split
    if split is None:
        split = "validation" if "validation" in builder.info.splits else "test"
    keys, class_names = _classification(builder)
    records = _open_records(builder, split, cache_dir)
    source = TfdsSource(f"{_full_name(builder)}/{split}", records, keys, class_names)
    check_samples(records, source.check)
    return source


def data_root(data_dir: str | None) -> Path:
    """Where data sets are prepared: `data_dir`, `TFDS_DATA_DIR` or TFDS's default. UsageError: no local path."""
    if "://" in (data_dir or ""):
        raise UsageError(f"config.data.data_dir={data_dir} is no local path: mount the bucket, and name the mount")
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR).expanduser().resolve()


def _find(name: str, directory: Path) -> tfds.core.DatasetBuilder:
    bundled = _BUNDLED.get(re.split("[:/]", name)[0])
    if bundled is not None:
        importlib.import_module(bundled)  # registers the builder with TFDS
    try:
        if bundled is not None:
            return _prepare(name, directory)
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=directory)
    # What TFDS raises for files that it cannot read, and for names, configs and versions that it cannot have.
    except (tfds.core.DatasetNotFoundError, ParseError, OSError, ValueError, AssertionError) as error:
        damage = None
        with contextlib.suppress(OSError):  # a directory that may not be read tells nothing
            damage = _find_damage(name, directory)
        if damage is not None:
            raise UsageError(f"{damage}: copy the data set or prepare it again") from None
        if not isinstance(error, tfds.core.DatasetNotFoundError):
            raise UsageError(f"data set {name!r} cannot be had: {' '.join(str(error).split())[:200]}") from None
        raise UsageError(
            f"data set {name!r} is not prepared in {directory}: prepare it (docs/data.md says how), say where it is "
            "with --config.data.data_dir=DIR or TFDS_DATA_DIR=DIR, or run without data: --config.data.source=synthetic"
        ) from None


def _find_damage(name: str, directory: Path) -> str | None:
    """What is wrong with the files that describe a data set, if it is there at all: a file, and missing or damaged."""
    root, *wanted = re.split("[:/]", name)
    files = ("dataset_info.json", "features.json")
    found = {
        path.parent for file in files for depth in ("*", "*/*") for path in (directory / root).glob(f"{depth}/{file}")
    }
    for folder in sorted(found):
        # TFDS's own names of what it has not finished are no versions.
        if tfds.core.Version.is_valid(folder.name) and set(wanted) <= set(folder.relative_to(directory).parts):
            for file in files:
                if not (folder / file).exists():
                    return f"{folder / file} is missing"
                if not _read_json(folder / file):
                    return f"{folder / file} cannot be read or is damaged"
    return None


def _read_json(file: Path) -> dict[str, Any]:
    """The object in a file; empty if there is none."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _full_name(builder: tfds.core.DatasetBuilder) -> str:
    """With its version and, where it has one, its fingerprint: another has other examples, or another order."""
    variant = "" if builder.builder_config is None else f"/{builder.builder_config.name}"
    try:
        metadata = builder.info.metadata  # reads the file
        fingerprint = metadata.get("fingerprint") if isinstance(metadata, tfds.core.MetadataDict) else None
    except (OSError, ValueError):
        file = builder.data_path / "metadata.json"
        raise UsageError(f"{file} cannot be read or is damaged: copy the data set or prepare it again") from None
    return f"{builder.name}{variant}:{builder.version}" + (f"+{fingerprint}" if isinstance(fingerprint, str) else "")


def _prepare(name: str, directory: Path) -> tfds.core.DatasetBuilder:
    builder = tfds.builder(name, data_dir=directory)
    marker = builder.data_path / "dataset_info.json"  # TFDS renames a finished directory into place
    if marker.exists():
        return builder
    builder = tfds.builder(name, data_dir=directory, file_format="array_record")
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download; there is none
            builder.download_and_prepare()
    except OSError as error:
        if not marker.exists():  # else another process was first
            raise UsageError(
                f"data set {name!r} cannot be prepared in {directory} ({error}): "
                "name a directory that can be written with --config.data.data_dir=DIR or TFDS_DATA_DIR=DIR"
            ) from None
    if not marker.exists():  # TFDS takes any directory for a finished one
        raise UsageError(f"{marker} is missing: copy the data set or prepare it again, for which remove its directory")
    return tfds.builder(name, data_dir=directory)


def _open_records(builder: tfds.core.DatasetBuilder, split: str, cache_dir: Path | None) -> Records:
    parts = _parts(builder, split)
    totals = {part.filename: part.examples_in_shard for part in parts}
    paths = list(totals)
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        raise UsageError(
            f"data set {builder.name!r} lacks {len(missing)} of {len(paths)} files of split {split!r}, "
            f"{missing[0]} for one: prepare it again"
        )
    tfrecord = builder.info.file_format == tfds.core.FileFormat.TFRECORD
    files: RecordFiles = open_tfrecords(paths, cache_dir=cache_dir) if tfrecord else open_array_records(paths)
    for path, total in totals.items():
        if files.count(path) != total:
            raise UsageError(
                f"{path} holds {files.count(path)} records, and {total} by the dataset_info.json beside it: "
                "copy or prepare it again"
            )
    return Records(files, [Part(part.filename, part.skip, part.take) for part in parts])


def _parts(builder: tfds.core.DatasetBuilder, split: str) -> list[Any]:
    """TFDS's `FileInstruction`s of a split: filename, skip, take, examples_in_shard."""
    if builder.info.file_format not in (tfds.core.FileFormat.ARRAY_RECORD, tfds.core.FileFormat.TFRECORD):
        raise UsageError(
            f"data set {builder.name!r} in {builder.data_dir} is stored as {builder.info.file_format.value}: "
            "prepare it with file_format='array_record' (docs/data.md says how)"
        )
    try:
        parts = builder.info.splits[split].file_instructions
    except (KeyError, ValueError, AssertionError):
        splits = ", ".join(builder.info.splits)
        raise UsageError(f"data set {builder.name!r} has no split {split!r}, it has: {splits}") from None
    if not parts:
        raise UsageError(f"split {split!r} of data set {builder.name!r} selects no example")
    return parts


def _classification(builder: tfds.core.DatasetBuilder) -> tuple[_Keys, tuple[str, ...]]:
    """The names of the features, and of the classes."""
    keys: Any = builder.info.supervised_keys
    if keys is not None and len(keys) == 2 and all(isinstance(key, str) for key in keys):
        image, label = (builder.info.features[key] for key in keys)
        if isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel):
            boxes = next((key for key, feature in builder.info.features.items() if _are_boxes(feature)), None)
            return _Keys(keys[0], keys[1], boxes), tuple(label.names)
    raise UsageError(f"data set {builder.name!r} is no image classification: its supervised_keys are {keys}")


def _are_boxes(feature: tfds.features.FeatureConnector) -> bool:
    """Whether a feature is a list of boxes as ymin, xmin, ymax, xmax in 0..1."""
    one = feature.feature if isinstance(feature, tfds.features.Sequence) else None
    relative = tfds.core.features.bounding_boxes_utils.BBoxFormat.REL_YXYX
    return isinstance(one, tfds.features.BBoxFeature) and one.bbox_format == relative
