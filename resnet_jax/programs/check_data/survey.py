"""Reads and examines every image of a data set once, in threads."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np

from resnet_jax.data.examination import Examined, examine
from resnet_jax.data.loader import read_with_retries
from resnet_jax.data.sources import Source
from resnet_jax.errors import UsageError
from resnet_jax.experiment import CheckedData
from resnet_jax.programs.prepare.in_order import in_order

_CHUNK = 16  # successive examples that one thread reads, so that few threads read the same Parquet row group
UNKNOWN = -1  # label of an example that cannot be read or whose label is out of range


@dataclasses.dataclass
class Survey:
    """What was found in one split of N examples.

    Attributes:
      name: name of the source.
      labels: [N] int64; `UNKNOWN` if the example cannot be read or its label is out of range.
      sizes: [N, 2] int64, height and width in pixels; 0 if the image cannot be decoded.
      digests: [N] uint64, equal for equal pixels; 0 if the image cannot be decoded.
      unreadable: index -> error message, for each example that cannot be read or decoded.
      mislabeled: index -> error message, for each example whose label is out of range.
      unusual: kind (one of `examination.UNUSUAL`) -> indices of the images of this kind.
      num_bytes: total size of all images as stored, in bytes.
      seconds: time that it took to read the split.
      mean: [3] float64, mean over images of the mean of R, G, B in 0..255.
      deviation: [3] float64, standard deviation of R, G, B in 0..255, all images weighted alike.
    """

    name: str
    labels: np.ndarray
    sizes: np.ndarray
    digests: np.ndarray
    unreadable: dict[int, str] = dataclasses.field(default_factory=dict)
    mislabeled: dict[int, str] = dataclasses.field(default_factory=dict)
    unusual: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    num_bytes: int = 0
    seconds: float = 0.0
    mean: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))
    deviation: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))

    @property
    def readable(self) -> np.ndarray:
        """[N] bool, whether each image can be decoded."""
        return self.sizes[:, 0] > 0


@dataclasses.dataclass(frozen=True)
class _Seen:
    """One example: the examined image, or the error that reading or decoding it raised."""

    label: int = UNKNOWN
    num_bytes: int = 0
    image: Examined | None = None
    error: str = ""
    mislabeled: bool = False


def survey(source: Source, data: CheckedData, read: Callable[[int], None]) -> Survey:
    """Reads and examines all examples of a source in order.

    Args:
      source: the examples.
      data: holds the largest accepted number of pixels of an image, and the number of threads.
      read: called with the number of examples read since the last call.
    """
    count = len(source)
    found = Survey(source.name, np.full(count, UNKNOWN), np.zeros((count, 2), np.int64), np.zeros(count, np.uint64))
    start, sums, squares = time.monotonic(), np.zeros(3), np.zeros(3)
    for index, seen in enumerate(_all(source, data, read)):
        found.labels[index] = seen.label
        found.num_bytes += seen.num_bytes
        if seen.error:
            (found.mislabeled if seen.mislabeled else found.unreadable)[index] = seen.error
        if seen.image is not None:
            found.sizes[index] = seen.image.height, seen.image.width
            found.digests[index] = seen.image.digest
            sums, squares = sums + seen.image.mean, squares + seen.image.mean_square
            for kind in seen.image.unusual:
                found.unusual.setdefault(kind, []).append(index)
    found.seconds = time.monotonic() - start
    decoded = max(1, int(found.readable.sum()))
    found.mean = sums / decoded
    found.deviation = np.sqrt(np.maximum(squares / decoded - found.mean**2, 0))
    return found


def _all(source: Source, data: CheckedData, read: Callable[[int], None]) -> Iterator[_Seen]:
    """Yields all examples of the source in order, examined in threads."""

    def see_chunk(first: int) -> list[_Seen]:
        indices = range(first, min(first + _CHUNK, len(source)))
        return [_see(source, index, data.max_image_pixels) for index in indices]

    firsts = range(0, len(source), _CHUNK)
    for chunk in in_order(see_chunk, firsts, num_threads=data.num_threads, ahead=2 * data.num_threads):
        read(len(chunk))
        yield from chunk


def _see(source: Source, index: int, max_pixels: int) -> _Seen:
    """Reads and examines one example."""
    try:
        example = read_with_retries(source, index)
    except UsageError as error:  # a label that is out of range
        return _Seen(error=str(error), mislabeled=True)
    except (OSError, ValueError, MemoryError) as error:
        return _Seen(error=_text(error))
    num_bytes = len(example.image) if isinstance(example.image, bytes) else example.image.nbytes
    try:
        return _Seen(example.label, num_bytes, examine(example.image, max_pixels))
    except (ValueError, MemoryError) as error:
        return _Seen(example.label, num_bytes, error=_text(error))


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
