"""The TFDS data set that ILSVRC2012 becomes."""

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

# Of what the system says of a disk, the errors that are the user's to cure.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Split(NamedTuple):
    """What is to become a split."""

    examples: Iterator[Example]  # in the order in which they are stored
    num_examples: int
    num_bytes: int  # about


class Imagenet2012(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """ILSVRC2012 with file names and bounding boxes, the images as they come.

    It has the name of TFDS's own data set (5.1.0: no boxes, 23 images re-encoded) and a later version: TFDS takes
    the latest, and both can be named. A shard-based builder, for the other kind sorts in a second copy on disk,
    which it writes with TensorFlow.
    """

    name = "imagenet2012"
    VERSION = tfds.core.Version("6.0.0")

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike,
        variant: str | None,
        splits: Mapping[str, Split],
        metadata: dict[str, Any],
    ):
        """Takes the splits and `metadata`, JSON that is written at the end: lists in it may grow until then."""
        self._splits, self._metadata = splits, metadata
        # A config object that the class does not list: TFDS would make one that it lists the default, and find
        # nothing else under the plain name.
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
        return _Writer(file_format=self.info.file_format)

    def _log_download_bytes(self) -> None:
        """Says nothing: there is no download."""

    def _log_download_done(self) -> None:
        """Likewise."""


class _Writer(ExampleWriter):
    """Has each shard on the disk before the next is begun, and says what is wrong with the disk."""

    def write(self, path: os.PathLike, examples: Iterator[tuple[str, bytes]]) -> None:
        try:
            super().write(path, examples)
        except RuntimeError as error:  # array_record's, for all that the system says
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
    """As many as TFDS would make; they are written one after the other, and so share one iterator."""
    number = ShardConfig.calculate_number_shards(split.num_bytes, split.num_examples)
    ends = get_shard_boundaries(split.num_examples, number)
    lengths = [end - start for start, end in itertools.pairwise([0, *ends])]
    return [functools.partial(itertools.islice, split.examples, length) for length in lengths]
