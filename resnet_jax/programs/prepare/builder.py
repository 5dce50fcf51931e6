"""The TFDS builder that writes ILSVRC2012 as ArrayRecord shards."""

import errno
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils.shard_utils import ShardConfig, get_shard_boundaries
from tensorflow_datasets.core.writer import ExampleWriter

from resnet_jax.data import imagenet_classes
from resnet_jax.programs.prepare.examples import Example
from resnet_jax.programs.prepare.target import IMAGENET, VERSION

# Errors of the disk that a user can remedy: full, over quota, read-only, failing.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Split(NamedTuple):
    """The examples of a split."""

    examples: Iterator[Example]  # in the order of storage
    num_examples: int
    num_bytes: int  # estimated size, determines the number of shards


class Imagenet2012(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """ILSVRC2012 with file names, bounding boxes and the image files, original or rewritten.

    TFDS has a data set of the same name, imagenet2012, in version 5.1.0, without boxes and with 23 images re-encoded.
    This one has a later version, and TFDS opens the latest one unless the user names a version.

    `GeneratorBasedBuilder` of TFDS would write a second copy to disk to sort it, with TensorFlow; `ShardBasedBuilder`
    does not.
    """

    name = IMAGENET
    VERSION = tfds.core.Version(VERSION)

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike,
        variant: str | None,
        splits: Mapping[str, Split],
        metadata: dict[str, Any],
    ):
        """Makes the builder; `download_and_prepare` writes the data set.

        Args:
          data_dir: directory of prepared data sets.
          variant: name of the TFDS config, such as 'short320_q90'; None: no config.
          splits: split name, such as 'train', -> its examples.
          metadata: JSON values. They are written after all examples, so iterating over the examples may change them.
        """
        self._splits, self._metadata = splits, metadata
        # Not listed in BUILDER_CONFIGS: the first listed config would become the default, and TFDS would no longer find
        # the data set without a config by its plain name.
        config = None if variant is None else tfds.core.BuilderConfig(name=variant)
        super().__init__(data_dir=data_dir, config=config, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=imagenet_classes.synsets()),
            "file_name": tfds.features.Text(),
            "bboxes": tfds.features.Sequence(tfds.features.BBoxFeature()),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="ILSVRC2012 from its archives: training and validation images, with bounding boxes if given.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://image-net.org/",
            metadata=tfds.core.MetadataDict(self._metadata),
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[Example]]]]:
        del dl_manager  # nothing to download
        return {name: _shards(split) for name, split in self._splits.items()}

    def _example_writer(self) -> ExampleWriter:
        return Writer(file_format=self.info.file_format)

    def _log_download_bytes(self) -> None:
        """Suppresses a log line of TFDS: there is no download."""

    def _log_download_done(self) -> None:
        """Suppresses a log line of TFDS: there is no download."""


class Writer(ExampleWriter):
    """Writes shards; syncs each to disk before the next one, and raises OSError for errors of the disk."""

    def write(self, path: os.PathLike, examples: Iterator[tuple[str, bytes]]) -> None:
        """Writes serialized examples with their keys; ArrayRecord does not store the keys."""
        try:
            super().write(path, examples)
        except RuntimeError as error:  # array_record raises it instead of OSError
            for number in _DISK_ERRORS:
                if os.strerror(number) in str(error):
                    raise OSError(number, os.strerror(number), os.fspath(path)) from None
            raise
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _shards(split: Split) -> list[Callable[[], Iterator[Example]]]:
    """Divides a split into as many shards as TFDS would; returns for each shard a function that returns its examples.

    All functions take examples from the same iterator, so TFDS must write the shards in order, which it does.
    """
    number = ShardConfig.calculate_number_shards(split.num_bytes, split.num_examples)
    ends = get_shard_boundaries(split.num_examples, number)
    lengths = [end - start for start, end in itertools.pairwise([0, *ends])]
    return [functools.partial(itertools.islice, split.examples, length) for length in lengths]
