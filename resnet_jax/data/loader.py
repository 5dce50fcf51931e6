"""From a step to its batch: a pure function of the loader's fields and the step."""

import dataclasses

import numpy as np

from resnet_jax.batch import Batch, HostBatch
from resnet_jax.data.crops import UNIFORMS_PER_CROP, Crop
from resnet_jax.data.hashing import combine, uniforms
from resnet_jax.data.images import crop_and_resize, decode, enlarge
from resnet_jax.data.order import Order, Rows
from resnet_jax.data.sources import Source
from resnet_jax.errors import UsageError

_CROP_STREAM = 2  # keeps the crops independent of the order, which hashes the same seed


@dataclasses.dataclass(frozen=True)
class Loader:
    """Makes the rows of this process in any batch, in any order, as often as asked.

    Attributes:
      source: examples by index.
      order: which of them stand in a batch.
      crop: box of an image of a given size, from uniform numbers.
      enlarge_to: see `enlarge`; None: not at all.
      image_size: side of the square result in pixels.
      seed: of the crops; a crop depends on the seed and the example's position in the run alone.
      process_index: of this process.
      process_count: divides the batch size; process p has the p-th of so many equal runs of rows.
    """

    source: Source
    order: Order
    crop: Crop
    enlarge_to: int | None
    image_size: int
    seed: int
    process_index: int = 0
    process_count: int = 1

    @property
    def num_batches(self) -> int:
        """Batches in one pass over the source, the last one padded or running on into the next pass."""
        return -(-len(self.source) // self.order.batch_size)

    def batch(self, step: int) -> HostBatch:
        """Decodes the rows of this process in batch `step`.

        Raises:
          UsageError: an image cannot be read.
        """
        rows = self.order.rows(step)
        size = len(rows.indices) // self.process_count
        return self._decode(rows, slice(self.process_index * size, (self.process_index + 1) * size))

    def first_images(self, count: int) -> np.ndarray:
        """The first images of batch 0, at most `count`: [N, image_size, image_size, 3] uint8."""
        return self._decode(self.order.rows(0), slice(0, count)).image

    def _decode(self, rows: Rows, part: slice) -> HostBatch:
        indices, mask = rows.indices[part], rows.mask[part]
        draws = uniforms(int(combine(_CROP_STREAM, self.seed)[0]), rows.positions[part], UNIFORMS_PER_CROP)
        images = np.zeros((len(indices), self.image_size, self.image_size, 3), np.uint8)
        labels = np.zeros(len(indices), np.int32)
        for row in np.flatnonzero(mask):
            labels[row] = self._read(int(indices[row]), draws[row].tolist(), images[row])
        return Batch(images, labels, mask)

    def _read(self, index: int, draws: list[float], out: np.ndarray) -> int:
        """Decodes, crops and resizes one example into `out`; returns its label."""
        try:
            example = self.source[index]
            image = decode(example.image) if isinstance(example.image, bytes) else example.image
        except (OSError, ValueError) as error:
            raise UsageError(
                f"example {index} of {self.source.name} cannot be read ({error}): repair or remove it"
            ) from None
        if self.enlarge_to is not None:
            image = enlarge(image, self.enlarge_to)
        crop_and_resize(image, self.crop(image.shape[0], image.shape[1], draws), out)
        return example.label
