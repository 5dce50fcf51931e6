"""The geometry of crops: which part of an image the network sees. No pixels here.

Each crop is a frozen dataclass that maps the size of an image, the boxes around its objects and some uniform numbers
in [0, 1) to a `View`: a pure function, the same in training, in replay and on every host.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from resnet_jax.errors import UsageError


class Box(NamedTuple):
    """A rectangle in whole pixels."""

    top: int
    left: int
    height: int
    width: int


class View(NamedTuple):
    """Resize `box` to `height` x `width`, then take the square of the output size at (`top`, `left`) of it.

    Where that square reaches over the edge it is black.
    """

    box: Box
    height: int
    width: int
    top: int = 0
    left: int = 0


class Crop(Protocol):
    """Chooses a view of an image."""

    @property
    def size(self) -> int:
        """Side of the output in pixels."""
        ...

    @property
    def num_uniforms(self) -> int:
        """How many uniform numbers a view takes."""
        ...

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """Returns the view of an image.

        Args:
          height: of the image.
          width: of the image.
          boxes: [N, 4] around its objects: ymin, xmin, ymax, xmax in 0..1.
          uniforms: `num_uniforms` numbers in [0, 1).
        """
        ...


@dataclasses.dataclass(frozen=True)
class RandomResized:
    """The crop of Szegedy et al. 2015 with torchvision's sampling (`RandomResizedCrop.get_params`).

    Area uniform, aspect ratio log-uniform, place uniform; after ten boxes that do not fit, the largest central box
    of an allowed aspect ratio.

    Attributes:
      size: side of the output in pixels.
      area: smallest and largest share of the image's area.
      aspect: smallest and largest width / height.
    """

    size: int
    area: tuple[float, float]
    aspect: tuple[float, float]
    ATTEMPTS: ClassVar[int] = 10
    num_uniforms: ClassVar[int] = 4 * ATTEMPTS

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """See `Crop`."""
        del boxes
        (small, large), (log_low, log_high) = self.area, (math.log(self.aspect[0]), math.log(self.aspect[1]))
        for attempt in range(self.ATTEMPTS):
            u_area, u_aspect, u_top, u_left = uniforms[4 * attempt : 4 * attempt + 4]
            area = height * width * (small + u_area * (large - small))
            ratio = math.exp(log_low + u_aspect * (log_high - log_low))
            box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < box_width <= width and 0 < box_height <= height:
                top, left = int(u_top * (height - box_height + 1)), int(u_left * (width - box_width + 1))
                return _resized(Box(top, left, box_height, box_width), self.size)
        ratio = min(max(width / height, self.aspect[0]), self.aspect[1])
        box_height, box_width = min(height, round(width / ratio)), min(width, round(height * ratio))
        return _resized(Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width), self.size)


@dataclasses.dataclass(frozen=True)
class BoxGuided:
    """A random crop that covers some of an object: `tf.image.sample_distorted_bounding_box`, as r1 trains.

    The same sampling as TensorFlow's kernel (`sample_distorted_bounding_box_op.cc`): aspect ratio uniform, height
    uniform among those that keep to the area, place uniform; the first of 100 boxes of which `min_object_covered` of
    any object's area lies inside. Without boxes the whole image is the object; without success it is the crop.

    Attributes:
      size: side of the output in pixels.
      area: smallest and largest share of the image's area.
      aspect: smallest and largest width / height.
      min_object_covered: share of an object's area.
    """

    size: int
    area: tuple[float, float]
    aspect: tuple[float, float]
    min_object_covered: float
    ATTEMPTS: ClassVar[int] = 100
    num_uniforms: ClassVar[int] = 4 * ATTEMPTS

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """See `Crop`."""
        objects = _corners(boxes, height, width)
        for attempt in range(self.ATTEMPTS):
            box = self._propose(height, width, uniforms[4 * attempt : 4 * attempt + 4])
            if box is not None and any(_covered(box, corners) >= self.min_object_covered for corners in objects):
                return _resized(box, self.size)
        return _resized(Box(0, 0, height, width), self.size)

    def _propose(self, height: int, width: int, uniforms: Sequence[float]) -> Box | None:
        """One box of an allowed area and aspect ratio; None if rounding leaves none."""
        u_aspect, u_height, u_top, u_left = uniforms
        ratio = self.aspect[0] + u_aspect * (self.aspect[1] - self.aspect[0])
        smallest, largest = (share * height * width for share in self.area)
        low, high = round(math.sqrt(smallest / ratio)), round(math.sqrt(largest / ratio))
        if round(high * ratio) > width:
            high = int((width + 0.5 - 1e-7) / ratio)
            high -= round(high * ratio) > width
        high = min(high, height)
        box_height = high if low >= high else low + int(u_height * (high - low + 1))
        # A rounded box may miss the area by a little: then one pixel more, or less, is tried.
        if box_height * round(box_height * ratio) < smallest:
            box_height += 1
        if box_height * round(box_height * ratio) > largest:
            box_height -= 1
        box_width = round(box_height * ratio)
        fits = 0 < box_height <= height and 0 < box_width <= width
        if not fits or not smallest <= box_height * box_width <= largest:
            return None
        # TensorFlow's range leaves out the last place; so does this.
        return Box(int(u_top * (height - box_height)), int(u_left * (width - box_width)), box_height, box_width)


@dataclasses.dataclass(frozen=True)
class PadAndCrop:
    """The CIFAR crop of He et al. 2015, section 4.2: pad each side with black, then cut the size out at random.

    Attributes:
      size: side of the output in pixels.
      padding: pixels.
    """

    size: int
    padding: int
    num_uniforms: ClassVar[int] = 2

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """See `Crop`."""
        del boxes
        top, left = (
            int(uniform * max(1, side + 2 * self.padding - self.size + 1)) - self.padding
            for uniform, side in zip(uniforms, (height, width), strict=True)
        )
        return View(Box(0, 0, height, width), height, width, top, left)


@dataclasses.dataclass(frozen=True)
class Central:
    """The central square whose side is size / (size + padding) of the shorter side, resized in one go.

    With a padding of 32 the evaluation crop of the TPU, flax and haiku examples (`_decode_and_center_crop`): at 224
    nearly "resize to 256, keep the central 224".

    Attributes:
      size: side of the output in pixels.
      padding: pixels at the size of the output; 0: the largest square.
    """

    size: int
    padding: int
    num_uniforms: ClassVar[int] = 0

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """See `Crop`."""
        del boxes, uniforms
        # float32 as in TensorFlow: it decides where a product is nearly whole.
        side = max(1, int(np.float32(self.size / (self.size + self.padding)) * np.float32(min(height, width))))
        return _resized(Box((height - side + 1) // 2, (width - side + 1) // 2, side, side), self.size)


@dataclasses.dataclass(frozen=True)
class ResizeThenCentral:
    """Resize the shorter side to size + padding, then keep the central square: r1's evaluation (256, then 224).

    Attributes:
      size: side of the output in pixels.
      padding: pixels.
    """

    size: int
    padding: int
    num_uniforms: ClassVar[int] = 0

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """See `Crop`."""
        del boxes, uniforms
        # In float32, cut off to whole pixels, as `_smallest_size_at_least` of r1.
        scale = np.float32(self.size + self.padding) / np.float32(min(height, width))
        new_height, new_width = (max(self.size, int(np.float32(side) * scale)) for side in (height, width))
        whole = Box(0, 0, height, width)
        return View(whole, new_height, new_width, (new_height - self.size) // 2, (new_width - self.size) // 2)


def create_train_crop(
    name: str,
    *,
    size: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
    min_object_covered: float,
    padding: int,
) -> Crop:
    """Makes the crop of training images; each takes what it needs. Raises UsageError for an unknown name."""
    crops: dict[str, Callable[[], Crop]] = {
        "random_resized": lambda: RandomResized(size, area, aspect),
        "box_guided": lambda: BoxGuided(size, area, aspect, min_object_covered),
        "pad": lambda: PadAndCrop(size, padding),
    }
    return _choose("data.train_crop.name", name, crops)()


def create_eval_crop(name: str, *, size: int, padding: int) -> Crop:
    """Makes the crop of evaluation images. Raises UsageError for an unknown name."""
    return _choose("data.eval_crop.name", name, {"central": Central, "resize": ResizeThenCentral})(size, padding)


def _choose(key: str, name: str, table: dict[str, Any]) -> Any:
    if name not in table:
        raise UsageError(f"config.{key}={name!r} is not one of {', '.join(table)}")
    return table[name]


def _resized(box: Box, size: int) -> View:
    return View(box, size, size)


def _corners(boxes: np.ndarray, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Top, left, bottom and right in whole pixels, cut off as TensorFlow does; of boxes with an area."""
    pixels = (np.asarray(boxes, np.float32) * np.array([height, width, height, width], np.float32)).astype(int)
    corners = [tuple(box) for box in pixels.tolist() if (box[2] - box[0]) * (box[3] - box[1]) >= 1]
    return corners if len(boxes) else [(0, 0, height, width)]


def _covered(box: Box, corners: tuple[int, int, int, int]) -> float:
    """Which share of a rectangle lies inside the box."""
    top, left, bottom, right = corners
    rows = min(box.top + box.height, bottom) - max(box.top, top)
    columns = min(box.left + box.width, right) - max(box.left, left)
    return max(rows, 0) * max(columns, 0) / ((bottom - top) * (right - left))
