"""From a step to its batch: a pure function of the loader's fields and the step."""

import dataclasses
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from resnet_jax.data.batch import UNREADABLE, Batch, HostBatch
from resnet_jax.data.crop_stages import CropStages
from resnet_jax.data.crops import Crop
from resnet_jax.data.decode import Picture, open_picture
from resnet_jax.data.hashing import combine, uniforms
from resnet_jax.data.host_augment import Policy
from resnet_jax.data.order import Order, Rows
from resnet_jax.data.resize import Resize, enlarge, show
from resnet_jax.data.sources import Example, Source
from resnet_jax.errors import UsageError

# Keep them independent of each other and of the order, which hashes the same seed.
_CROP_STREAM, _REPLACEMENT_STREAM, _AUGMENT_STREAM = 2, 3, 4
_REPLACEMENTS = 10  # tried for one row
_PAUSES = (0.1, 1.0, 5.0)  # seconds between tries of a file that is there and cannot be read


class Loaded(NamedTuple):
    """A batch, and what went wrong with it."""

    batch: HostBatch
    unreadable: np.ndarray  # [B] bool: the example that belongs in this row cannot be read


@dataclasses.dataclass(frozen=True)
class Loader:
    """Makes the rows of this process in any batch, in any order, as often as asked.

    Attributes:
      source: examples by index.
      order: which of them stand in a batch.
      crops: what of an image is seen, from uniform numbers, at which step.
      resize: kernel that brings it to size.
      enlarge_to: see `enlarge`; None: not at all.
      seed: of the crops and of `augment`; they depend on the seed and the example's position in the run alone.
      replaces: an example that cannot be read is replaced by another one, which depends on the seed and the
        position alone, as in training; else it is black and its label `UNREADABLE`, so that no answer is right.
      augment: changes what was cropped; None: nothing does.
      process_index: of this process.
      process_count: divides the batch size; process p has the p-th of so many equal runs of rows.
    """

    source: Source
    order: Order
    crops: CropStages
    resize: Resize
    enlarge_to: int | None
    seed: int
    replaces: bool
    augment: Policy | None = None
    process_index: int = 0
    process_count: int = 1

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Sides of the square images in pixels, each once, in the order in which they first come."""
        return self.crops.sizes

    def image_size_at(self, step: int) -> int:
        """Side of the square images of batch `step` in pixels."""
        return self.crops.at(step).size

    @property
    def num_batches(self) -> int:
        """Batches in one pass over the source, the last one padded or running on into the next pass."""
        return -(-len(self.source) // self.order.batch_size)

    def batch(self, step: int) -> Loaded:
        """Decodes the rows of this process in batch `step`.

        Raises:
          UsageError: an example cannot be read, nor can any of those that might replace it.
        """
        return self._load(self.rows(step), self.crops.at(step))

    def rows(self, step: int) -> Rows:
        """Which examples stand in the rows of this process in batch `step`."""
        rows = self.order.rows(step)
        size = len(rows.indices) // self.process_count
        part = slice(self.process_index * size, (self.process_index + 1) * size)
        return Rows(*(array[part] for array in rows))

    def first_images(self, count: int) -> np.ndarray:
        """The first images of batch 0, at most `count`: [N, size, size, 3] uint8."""
        return self._load(Rows(*(array[:count] for array in self.order.rows(0))), self.crops.at(0)).batch.image

    def problem(self, index: int) -> str | None:
        """Why an example cannot be read; None: it can."""
        try:
            _, picture = self._open(index)
            picture.top(picture.height)
        except (OSError, ValueError) as error:
            return str(error)
        return None

    def _load(self, rows: Rows, crop: Crop) -> Loaded:
        size, side = len(rows.indices), crop.size
        images, labels = np.empty((size, side, side, 3), np.uint8), np.zeros(size, np.int32)
        images[~rows.mask] = 0
        unreadable = np.zeros(size, bool)
        draws = self._draw(_CROP_STREAM, rows, crop.num_uniforms)
        augment_draws = self._draw(_AUGMENT_STREAM, rows, self.augment.num_uniforms if self.augment else 0)
        for row in np.flatnonzero(rows.mask).tolist():
            labels[row], unreadable[row] = self._fill_row(rows, row, crop, draws[row].tolist(), images[row])
            if self.augment and labels[row] != UNREADABLE:
                images[row] = self.augment(images[row], augment_draws[row].tolist())
        return Loaded(Batch(images, labels, rows.mask), unreadable)

    def _draw(self, stream: int, rows: Rows, count: int) -> np.ndarray:
        """Uniform numbers of a stream: [B, count]."""
        return uniforms(int(combine(stream, self.seed)[0]), rows.positions, count)

    def _fill_row(self, rows: Rows, row: int, crop: Crop, draws: list[float], out: np.ndarray) -> tuple[int, bool]:
        """Returns the label of what now stands in the row, and whether its own example could not be read."""
        for attempt, index in enumerate(self._candidates(rows, row)):
            label = self._fill(index, crop, draws, out)
            if label != UNREADABLE:
                return label, attempt > 0
        if self.replaces:
            index = int(rows.indices[row])
            raise UsageError(
                f"{self.source.where(index)} cannot be read ({self.problem(index) or 'it can now'}), "
                f"nor can {_REPLACEMENTS} others of {self.source.name}: is the disk still there?"
            )
        out[...] = 0
        return UNREADABLE, True

    def _candidates(self, rows: Rows, row: int) -> Iterator[int]:
        """The example that belongs in a row, then those that may replace it."""
        yield int(rows.indices[row])
        for attempt in range(_REPLACEMENTS if self.replaces else 0):
            key = combine(_REPLACEMENT_STREAM, self.seed, rows.positions[row], attempt)
            yield int(key[0] % np.uint64(len(self.source)))

    def _fill(self, index: int, crop: Crop, draws: list[float], out: np.ndarray) -> int:
        """Decodes, crops and resizes one example into `out`; returns its label, or UNREADABLE."""
        try:
            example, picture = self._open(index)
        except (OSError, ValueError):
            return UNREADABLE
        view = crop(picture.height, picture.width, example.boxes, draws)
        try:
            pixels = picture.top(view.box.top + view.box.height)
        except ValueError:
            return UNREADABLE
        show(pixels, view, self.resize, out)
        return example.label

    def _open(self, index: int) -> tuple[Example, Picture]:
        """Raises OSError or ValueError for an example that cannot be read."""
        example = _patiently(self.source, index)
        picture = open_picture(example.image)
        if self.enlarge_to is not None:
            picture = open_picture(enlarge(picture.top(picture.height), self.enlarge_to))
        return example, picture


def _patiently(source: Source, index: int) -> Example:
    """Reads an example; asks again where the file is there and a network or a disk may be slow to answer."""
    for pause in _PAUSES:
        try:
            return source[index]
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(pause)
    return source[index]
