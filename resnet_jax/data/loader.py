"""From a step to its batch: a pure function of the loader's fields and the step."""

import dataclasses
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from resnet_jax.batch import UNREADABLE, Batch, HostBatch
from resnet_jax.data.crops import Crop
from resnet_jax.data.hashing import combine, uniforms
from resnet_jax.data.images import Picture, open_picture
from resnet_jax.data.order import Order, Rows
from resnet_jax.data.resize import Resize, enlarge, show
from resnet_jax.data.sources import Example, Source
from resnet_jax.errors import UsageError

_CROP_STREAM, _REPLACEMENT_STREAM = 2, 3  # keep them independent of the order, which hashes the same seed
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
      crop: what of an image is seen, from uniform numbers.
      resize: kernel that brings it to size.
      enlarge_to: see `enlarge`; None: not at all.
      seed: of the crops; a crop depends on the seed and the example's position in the run alone.
      replaces: an example that cannot be read is replaced by another one, which depends on the seed and the
        position alone, as in training; else it is black and its label `UNREADABLE`, so that no answer is right.
      process_index: of this process.
      process_count: divides the batch size; process p has the p-th of so many equal runs of rows.
    """

    source: Source
    order: Order
    crop: Crop
    resize: Resize
    enlarge_to: int | None
    seed: int
    replaces: bool
    process_index: int = 0
    process_count: int = 1

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return self.crop.size

    @property
    def num_batches(self) -> int:
        """Batches in one pass over the source, the last one padded or running on into the next pass."""
        return -(-len(self.source) // self.order.batch_size)

    def batch(self, step: int) -> Loaded:
        """Decodes the rows of this process in batch `step`.

        Raises:
          UsageError: an example cannot be read, nor can any of those that might replace it.
        """
        return self._load(self.rows(step))

    def rows(self, step: int) -> Rows:
        """Which examples stand in the rows of this process in batch `step`."""
        rows = self.order.rows(step)
        size = len(rows.indices) // self.process_count
        part = slice(self.process_index * size, (self.process_index + 1) * size)
        return Rows(*(array[part] for array in rows))

    def first_images(self, count: int) -> np.ndarray:
        """The first images of batch 0, at most `count`: [N, image_size, image_size, 3] uint8."""
        return self._load(Rows(*(array[:count] for array in self.order.rows(0)))).batch.image

    def problem(self, index: int) -> str | None:
        """Why an example cannot be read; None: it can."""
        try:
            _, picture = self._open(index)
            picture.top(picture.height)
        except (OSError, ValueError) as error:
            return str(error)
        return None

    def _load(self, rows: Rows) -> Loaded:
        size, side = len(rows.indices), self.image_size
        images, labels = np.empty((size, side, side, 3), np.uint8), np.zeros(size, np.int32)
        images[~rows.mask] = 0
        unreadable = np.zeros(size, bool)
        draws = uniforms(int(combine(_CROP_STREAM, self.seed)[0]), rows.positions, self.crop.num_uniforms)
        for row in np.flatnonzero(rows.mask).tolist():
            labels[row], unreadable[row] = self._fill_row(rows, row, draws[row].tolist(), images[row])
        return Loaded(Batch(images, labels, rows.mask), unreadable)

    def _fill_row(self, rows: Rows, row: int, draws: list[float], out: np.ndarray) -> tuple[int, bool]:
        """Returns the label of what now stands in the row, and whether its own example could not be read."""
        for attempt, index in enumerate(self._candidates(rows, row)):
            label = self._fill(index, draws, out)
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

    def _fill(self, index: int, draws: list[float], out: np.ndarray) -> int:
        """Decodes, crops and resizes one example into `out`; returns its label, or UNREADABLE."""
        try:
            example, picture = self._open(index)
        except (OSError, ValueError):
            return UNREADABLE
        view = self.crop(picture.height, picture.width, example.boxes, draws)
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
