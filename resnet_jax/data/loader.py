"""Makes batches: reads, decodes, crops, resizes and augments images. A batch depends on settings and step only."""

import dataclasses
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from resnet_jax.data.batch import UNREADABLE, Batch, HostBatch
from resnet_jax.data.crop_stages import CropStages
from resnet_jax.data.crops import Central, Crop, RandomResized, View
from resnet_jax.data.decode import LazyImage, open_image
from resnet_jax.data.decoder_messages import count_messages
from resnet_jax.data.hashing import combine, uniforms
from resnet_jax.data.host_augment import Policy
from resnet_jax.data.image_limits import MAX_PIXELS, check_size
from resnet_jax.data.order import BatchRows, EvalOrder, Order, TrainOrder
from resnet_jax.data.regular_files import NO_FILE
from resnet_jax.data.resize import apply_view, create_resize, enlarge
from resnet_jax.data.sources import Example, Source
from resnet_jax.errors import UsageError
from resnet_jax.text import printable

# Numbers that are hashed with the seed, so that crops, replacements, augmentation, flips and the order of the examples
# (`order.py`) have independent random numbers.
_CROP_STREAM, _REPLACEMENT_STREAM, _AUGMENT_STREAM, _FLIP_STREAM = 2, 3, 4, 5
_REPLACEMENTS = 10  # number of other examples tried in place of one that cannot be read
_RETRY_DELAYS = (0.1, 1.0, 5.0)  # seconds of waiting before each retry of a file that exists but cannot be read


class LoadedBatch(NamedTuple):
    """A batch, which of its rows could not be read, and how many messages the image decoders issued."""

    batch: HostBatch
    unreadable: np.ndarray  # [B] bool, True if the example of the row cannot be read
    num_messages: int = 0  # messages of libtiff and Pillow that are not shown, see `decoder_messages.py`


class RowOrigin(NamedTuple):
    """What is in a row of a batch: an example, and the part of its image that the crop shows."""

    position: int  # index of the row among the rows of all batches of the run
    example: int  # index of the example in the source
    replaced: int | None  # index of the unreadable example that this one replaces; None: it replaces none
    label: int  # index of the class
    height: int  # height of the stored image in pixels
    width: int  # width of the stored image in pixels
    crop: tuple[float, float, float, float]  # top, left, height, width in the image, in pixels; may extend beyond it


class _Drawn(NamedTuple):
    """The random choices for the image in one row of a batch."""

    crop: list[float]  # the random numbers of the crop, in [0, 1)
    flip: bool  # mirror the image before the resize


@dataclasses.dataclass(frozen=True)
class Loader:
    """Makes the batch of any step, in any order and as often as needed; each process makes only its own rows.

    `Loader(source, batch_size=256)` makes training batches as `configs/resnet50.py` does; `Loader(source,
    batch_size=256, training=False)` makes evaluation batches. Random numbers depend only on the seed and on the
    index of the row among the rows of all batches of the run.

    Attributes:
      source: the examples, anything that implements `Source`.
      batch_size: rows of the global batch.
      training: shuffle in endless epochs and replace unreadable examples by others; False: each example once, in
        the order of the source, and unreadable examples become black images with the label `UNREADABLE`.
      crops: one crop, or one per stage of progressive resizing; None: `RandomResized()` or `Central()`, 224 pixels.
      augment: policy applied after the crop, see `host_augment.create_policy`; None: no augmentation.
      resize: name of the resize kernel, a key of `resize.RESIZES`.
      flip: mirror half of the training images at random, before the resize; False: the host mirrors none.
      fast_dct: decode JPEG files as TensorFlow does, see `jpeg.decode_jpeg`.
      enlarge_to: shorter side in pixels to which smaller images are enlarged before the crop; None: do not enlarge.
      max_image_pixels: number of pixels, height times width, above which a stored image counts as unreadable.
      repeats: how often in succession each training example is used (repeated augmentation), see `TrainOrder`.
      num_groups: number of batch norm groups, over which the repeats of an example are spread, see `TrainOrder`.
      seed: seed of the order, the crops, the augmentation and the replacements.
      process_index: index of this process; with several processes, `jax.process_index()`.
      process_count: number of processes; process p makes the p-th of `process_count` equal slices of each batch.

    Raises:
      UsageError: the source is empty, the processes do not divide the batch, or the resize kernel is unknown.
    """

    source: Source
    _: dataclasses.KW_ONLY
    batch_size: int = 1024
    training: bool = True
    crops: CropStages | Crop | None = None
    augment: Policy | None = None
    resize: str = "bicubic"
    flip: bool = False
    fast_dct: bool = False
    enlarge_to: int | None = None
    max_image_pixels: int = MAX_PIXELS
    repeats: int = 1
    num_groups: int = 1
    seed: int = 0
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        create_resize(self.resize)
        if self.batch_size < 1 or self.batch_size % self.process_count:
            raise UsageError(
                f"batch_size={self.batch_size} is not a positive multiple of the {self.process_count} processes: "
                "every process makes the same number of rows"
            )
        if not len(self.source):
            raise UsageError(f"{self.source.name} has no examples: check its directory and split")

    @property
    def crop_stages(self) -> CropStages:
        """The crop for each step: `crops`, or the default crop if `crops` is None."""
        if isinstance(self.crops, CropStages):
            return self.crops
        default = RandomResized() if self.training else Central()
        return CropStages((default if self.crops is None else self.crops,))

    @property
    def order(self) -> Order:
        """The assignment of examples to the rows of each batch."""
        if self.training:
            return TrainOrder(len(self.source), self.batch_size, self.seed, self.repeats, self.num_groups)
        return EvalOrder(len(self.source), self.batch_size)

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """The distinct sides of the square images in pixels, in the order of their first use."""
        return self.crop_stages.sizes

    def image_size_at(self, step: int) -> int:
        """Returns the side in pixels of the square images in the batch of a step."""
        return self.crop_stages.at(step).size

    @property
    def num_batches(self) -> int:
        """Number of batches in one pass over the source, rounded up."""
        return -(-len(self.source) // self.batch_size)

    def batch(self, step: int) -> LoadedBatch:
        """Makes the batch of a step, only the rows of this process.

        Raises:
          UsageError: an example of a training batch and all its replacements cannot be read.
        """
        return self._load(self.rows(step), self.crop_stages.at(step))

    def rows(self, step: int) -> BatchRows:
        """Returns which examples are in the batch of a step, only for the rows of this process."""
        size = self.batch_size // self.process_count
        own = slice(self.process_index * size, (self.process_index + 1) * size)
        return BatchRows(*(array[own] for array in self.order.rows(step)))

    def first_images(self, count: int) -> np.ndarray:
        """Returns the first `count` images of the batch of step 0, or all if there are fewer: [N, H, W, 3] uint8."""
        return self.first_batch(count).image

    def first_batch(self, count: int) -> HostBatch:
        """Returns the first `count` rows of the batch of step 0, or all if there are fewer."""
        rows = BatchRows(*(array[:count] for array in self.order.rows(0)))
        return self._load(rows, self.crop_stages.at(0)).batch

    def spread_batch(self, count: int) -> HostBatch:
        """Returns at most `count` evenly spaced examples of the source, with the crop of step 0."""
        indices = np.arange(0, len(self.source), -(-len(self.source) // count))
        return self._load(BatchRows(indices, indices, np.ones(len(indices), bool)), self.crop_stages.at(0)).batch

    def origins(self, step: int, rows: Iterable[int]) -> Iterator[RowOrigin]:
        """Yields the `RowOrigin` of each of the `rows` of the batch of a step; reads and decodes the images again."""
        batch_rows, crop = self.rows(step), self.crop_stages.at(step)
        drawn = self._sample_uniforms(_CROP_STREAM, batch_rows, crop.num_uniforms)
        scratch = np.empty((crop.size, crop.size, 3), np.uint8)
        for row in rows:
            own, uniform = int(batch_rows.indices[row]), drawn[row].tolist()
            for index in self._candidates(batch_rows, row):
                if self._fill(index, crop, _Drawn(uniform, flip=False), scratch) != UNREADABLE:
                    example, image = self._open(index)
                    shown = _shown(crop(image.height, image.width, example.boxes, uniform), crop.size)
                    replaced = None if index == own else own
                    position = int(batch_rows.positions[row])
                    yield RowOrigin(position, index, replaced, example.label, image.height, image.width, shown)
                    break

    def stored_image(self, index: int) -> np.ndarray:
        """Returns the whole image of a readable example, enlarged if `enlarge_to` is set: [H, W, 3] uint8."""
        _, image = self._open(index)
        return image.decode_rows(image.height)

    def read_error(self, index: int) -> str | None:
        """Tries to read and decode an example; returns the error message, or None if there was no error."""
        try:
            example, image = self._open(index)
            crop = self.crop_stages.at(0)
            self._decode(image, crop(image.height, image.width, example.boxes, [0.0] * crop.num_uniforms))
            image.decode_rows(image.height)
        except (OSError, ValueError) as error:
            return str(error)
        except MemoryError:
            return "there is not enough memory to read it"
        return None

    def _load(self, rows: BatchRows, crop: Crop) -> LoadedBatch:
        size, side, messages = len(rows.indices), crop.size, count_messages()
        images, labels = np.empty((size, side, side, 3), np.uint8), np.zeros(size, np.int32)
        images[~rows.mask] = 0
        unreadable = np.zeros(size, bool)
        crop_uniforms = self._sample_uniforms(_CROP_STREAM, rows, crop.num_uniforms)
        augment_uniforms = self._sample_uniforms(
            _AUGMENT_STREAM, rows, self.augment.num_uniforms if self.augment else 0
        )
        flips = self._sample_uniforms(_FLIP_STREAM, rows, self.flip) < 1 / 2  # [B, 1]; [B, 0] if `flip` is False
        for row in np.flatnonzero(rows.mask).tolist():
            drawn = _Drawn(crop_uniforms[row].tolist(), flip=bool(flips[row].any()))
            labels[row], unreadable[row] = self._fill_row(rows, row, crop, drawn, images[row])
            if self.augment and labels[row] != UNREADABLE:
                images[row] = self.augment(images[row], augment_uniforms[row].tolist())
        return LoadedBatch(Batch(images, labels, rows.mask), unreadable, count_messages() - messages)

    def _sample_uniforms(self, stream: int, rows: BatchRows, count: int) -> np.ndarray:
        """Returns random numbers in [0, 1) for each row: [B, count] float64, independent for each stream."""
        return uniforms(int(combine(stream, self.seed)[0]), rows.positions, count)

    def _fill_row(self, rows: BatchRows, row: int, crop: Crop, drawn: _Drawn, out: np.ndarray) -> tuple[int, bool]:
        """Writes the image of a row into `out`; returns its label, and whether the row's own example is unreadable."""
        for attempt, index in enumerate(self._candidates(rows, row)):
            label = self._fill(index, crop, drawn, out)
            if label != UNREADABLE:
                return label, attempt > 0
        if self.training:
            index = int(rows.indices[row])
            reason = self.read_error(index) or "a later attempt to read it succeeded"
            raise UsageError(
                f"{printable(self.source.where(index))} cannot be read ({printable(reason)}), nor can {_REPLACEMENTS} "
                f"others of {printable(self.source.name)}: check that the disk or network mount is available"
            )
        out[...] = 0
        return UNREADABLE, True

    def _candidates(self, rows: BatchRows, row: int) -> Iterator[int]:
        """Yields the index of the example that belongs in a row, then, in training, those of its replacements."""
        yield int(rows.indices[row])
        for attempt in range(_REPLACEMENTS if self.training else 0):
            key = combine(_REPLACEMENT_STREAM, self.seed, rows.positions[row], attempt)
            yield int(key[0] % np.uint64(len(self.source)))

    def _fill(self, index: int, crop: Crop, drawn: _Drawn, out: np.ndarray) -> int:
        """Decodes, crops and resizes one example into `out`; returns its label, or UNREADABLE if it cannot be read."""
        try:
            example, image = self._open(index)
        except (OSError, ValueError, MemoryError):
            return UNREADABLE
        # Outside of the try blocks: an error that a crop raises is a bug, not an unreadable image.
        view = crop(image.height, image.width, example.boxes, drawn.crop)
        try:
            pixels, view = self._decode(image, view)
        except (ValueError, MemoryError):
            return UNREADABLE
        apply_view(pixels, view, create_resize(self.resize), out, flip=drawn.flip)
        return example.label

    def _decode(self, image: LazyImage, view: View) -> tuple[np.ndarray, View]:
        """Decodes the part of an image that a view shows; returns this part, and the view relative to it.

        Raises ValueError if the image cannot be decoded or the view is too large.
        """
        check_size(view.height, view.width, self.max_image_pixels)
        pixels, box = image.decode_box(view.box)
        return pixels, view._replace(box=box)

    def _open(self, index: int) -> tuple[Example, LazyImage]:
        """Reads an example and opens its image. Raises OSError or ValueError if it cannot be read."""
        example = read_with_retries(self.source, index)
        image = open_image(example.image, self.max_image_pixels, fast_dct=self.fast_dct)
        if self.enlarge_to is not None:
            image = open_image(enlarge(image.decode_rows(image.height), self.enlarge_to, self.max_image_pixels))
        return example, image


def _shown(view: View, size: int) -> tuple[float, float, float, float]:
    """Returns top, left, height and width, in pixels of the image, of the region that a view of side `size` shows."""
    down, right = view.box.height / view.height, view.box.width / view.width
    return view.box.top + view.top * down, view.box.left + view.left * right, size * down, size * right


def read_with_retries(source: Source, index: int) -> Example:
    """Reads an example; after an I/O error that may be temporary, as on a network disk, waits and tries again."""
    for delay in _RETRY_DELAYS:
        try:
            return source[index]
        except OSError as error:
            if isinstance(error, FileNotFoundError | PermissionError) or error.errno in NO_FILE:
                raise
            time.sleep(delay)
    return source[index]
