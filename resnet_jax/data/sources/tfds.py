"""TensorFlow Datasets prepared as ArrayRecord, read at random without TensorFlow."""

import contextlib
import importlib
import io
import os
import re
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError

# Data sets that come with this package: name -> module of the builder. They prepare themselves on first use.
_BUNDLED = {"digits": "resnet_jax.data.datasets.digits"}


class TfdsSource:
    """One split of a prepared data set; images stay encoded."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        image_key, label_key, self.class_names = _classification_keys(builder)
        self.name = f"{builder.name}/{split}"
        self._image_key, self._label_key = image_key, label_key
        self._records = builder.as_data_source(split=split, decoders={image_key: tfds.decode.SkipDecoding()})

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        return Example(record[self._image_key], int(record[self._label_key]))

    def where(self, index: int) -> str:
        """See `Source`."""
        return f"{self.name}[{index}]"


def open_source(
    *, training: bool, name: str, data_dir: str | None, train_split: str, eval_split: str | None
) -> TfdsSource:
    """Opens a split of a data set.

    Args:
      training: the training split, else the evaluation split.
      name: as TFDS has it: 'imagenet2012', 'imagenette/320px-v2', 'cifar10:3.0.2'.
      data_dir: where data sets are prepared; None: `TFDS_DATA_DIR`, else TFDS's own default.
      train_split: a TFDS split or slice, as 'train[:99%]'.
      eval_split: likewise; None: 'validation' where the data set has it, else 'test'.

    Raises:
      UsageError: not prepared, not ArrayRecord, no such split, no image classification, files missing.
    """
    if "://" in (data_dir or ""):
        raise UsageError(f"config.data.data_dir={data_dir} is no local path: mount the bucket, and name the mount")
    directory = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR).expanduser()
    builder = _find(name, directory)
    split = train_split if training else eval_split
    if split is None:
        split = "validation" if "validation" in builder.info.splits else "test"
    _check_split(builder, split)
    return TfdsSource(builder, split)


def _find(name: str, directory: Path) -> tfds.core.DatasetBuilder:
    bundled = _BUNDLED.get(re.split("[:/]", name)[0])
    if bundled is not None:
        importlib.import_module(bundled)  # registers the builder with TFDS
    try:
        if bundled is not None:
            return _prepare(name, directory)
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=directory)
    except tfds.core.DatasetNotFoundError:
        raise UsageError(
            f"data set {name!r} is not prepared in {directory}: prepare it (docs/data.md says how), say where it is "
            "with --config.data.data_dir=DIR or TFDS_DATA_DIR=DIR, or run without data: --config.data.source=synthetic"
        ) from None
    except (ValueError, AssertionError) as error:  # what TFDS raises for names, configs and versions it cannot have
        raise UsageError(f"data set {name!r} cannot be had: {' '.join(str(error).split())[:200]}") from None


def _prepare(name: str, directory: Path) -> tfds.core.DatasetBuilder:
    builder = tfds.builder(name, data_dir=directory, file_format="array_record")
    marker = builder.data_path / "dataset_info.json"  # TFDS renames a finished directory into place
    if marker.exists():
        return builder
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
    return tfds.builder(name, data_dir=directory)


def _check_split(builder: tfds.core.DatasetBuilder, split: str) -> None:
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise UsageError(
            f"data set {builder.name!r} in {builder.data_dir} is stored as {builder.info.file_format.value}, "
            "which has no random access: prepare it with file_format='array_record' (docs/data.md says how)"
        )
    try:
        paths = builder.info.splits[split].filepaths
    except (KeyError, ValueError, AssertionError):
        splits = ", ".join(builder.info.splits)
        raise UsageError(f"data set {builder.name!r} has no split {split!r}, it has: {splits}") from None
    if not paths:
        raise UsageError(f"split {split!r} of data set {builder.name!r} selects no example")
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UsageError(
            f"data set {builder.name!r} lacks {len(missing)} of {len(paths)} files of split {split!r}, "
            f"{missing[0]} for one: prepare it again"
        )


def _classification_keys(builder: tfds.core.DatasetBuilder) -> tuple[str, str, tuple[str, ...]]:
    """The names of the image and of the label among the features, and the names of the classes."""
    keys: Any = builder.info.supervised_keys
    if keys is not None and len(keys) == 2 and all(isinstance(key, str) for key in keys):
        image, label = (builder.info.features[key] for key in keys)
        if isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel):
            return keys[0], keys[1], tuple(label.names)
    raise UsageError(f"data set {builder.name!r} is no image classification: its supervised_keys are {keys}")
