"""The geometry of crops: which region of an image the network sees. `resize.py` applies a crop to pixels.

Each crop is a frozen dataclass with a pure `__call__`: it maps the image size, the boxes around objects and uniform
random numbers in [0, 1) to a `View`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from resnet_jax.errors import UsageError


class Box(NamedTuple):
    """A rectangle in the image; coordinates in whole pixels."""

    top: int
    left: int
    height: int
    width: int


class View(NamedTuple):
    """How to crop an image: resize `box` to `height` x `width`, then cut a square out of the result at (`top`, `left`).

    The side of the square is `Crop.size`. Pixels of the square outside the resized box are black.
    """

    box: Box
    height: int  # height of the resized box in pixels
    width: int  # width of the resized box in pixels
    top: int = 0  # upper edge of the square, in pixels below the upper edge of the resized box; may be negative
    left: int = 0  # left edge of the square, in pixels right of the left edge of the resized box; may be negative


class Crop(Protocol):
    """The interface of crops, which choose the region of an image that the network sees."""

    @property
    def size(self) -> int:
        """Side of the square output image in pixels."""
        ...

    @property
    def num_uniforms(self) -> int:
        """Number of uniform random numbers that one call consumes."""
        ...

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """Returns the region of an image to cut, and how to resize it.

        Args:
          height: height of the image in pixels.
          width: width of the image in pixels.
          boxes: [N, 4] boxes around objects in the image: ymin, xmin, ymax, xmax, relative to the image size (0 to 1).
          uniforms: `num_uniforms` random numbers in [0, 1).
        """
        ...


@dataclasses.dataclass(frozen=True)
class RandomResized:
    """The training crop of Szegedy et al. 2015, sampled as torchvision's `RandomResizedCrop.get_params` does.

    The area is uniform, the aspect ratio log-uniform, the position uniform. If none of ten sampled boxes fits into the
    image, the crop is the largest central box with an allowed aspect ratio.

    Attributes:
      size: side of the square output image in pixels.
      area: range of crop area / image area.
      aspect: range of crop width / height.
    """

    size: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    ATTEMPTS: ClassVar[int] = 10
    num_uniforms: ClassVar[int] = 4 * ATTEMPTS

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """Implements `Crop.__call__`: samples a box and resizes it to the output size; ignores `boxes`."""
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
        box_height, box_width = (
            min(max(1, round(side)), whole) for side, whole in ((width / ratio, height), (height * ratio, width))
        )
        return _resized(Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width), self.size)


@dataclasses.dataclass(frozen=True)
class BoxGuided:
    """The training crop of the r1.x ResNet of the TensorFlow Models repository, which covers part of an object.

    Samples as `tf.image.sample_distorted_bounding_box` does: the aspect ratio is uniform, the height uniform among
    those that give an allowed area, the position uniform. Of up to 100 sampled boxes, the first that contains at least
    `min_object_covered` of the area of any object is the crop. If none does, the crop is the whole image. An image
    without boxes counts as one object that fills it.

    Attributes:
      size: side of the square output image in pixels.
      area: range of crop area / image area.
      aspect: range of crop width / height.
      min_object_covered: minimum fraction of an object's area inside the crop.
    """

    size: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    min_object_covered: float = 0.1
    ATTEMPTS: ClassVar[int] = 100
    num_uniforms: ClassVar[int] = 4 * ATTEMPTS

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """Implements `Crop.__call__`: samples a box that covers part of an object and resizes it to the output size."""
        objects = _corners(boxes, height, width)
        for attempt in range(self.ATTEMPTS):
            box = self._propose(height, width, uniforms[4 * attempt : 4 * attempt + 4])
            if box is not None and any(_covered(box, corners) >= self.min_object_covered for corners in objects):
                return _resized(box, self.size)
        return _resized(Box(0, 0, height, width), self.size)

    def _propose(self, height: int, width: int, uniforms: Sequence[float]) -> Box | None:
        """Samples a box in whole pixels; None if it does not fit into the image or its area is out of range."""
        u_aspect, u_height, u_top, u_left = uniforms
        ratio = self.aspect[0] + u_aspect * (self.aspect[1] - self.aspect[0])
        smallest, largest = (fraction * height * width for fraction in self.area)
        low, high = round(math.sqrt(smallest / ratio)), round(math.sqrt(largest / ratio))
        if round(high * ratio) > width:
            high = int((width + 0.5 - 1e-7) / ratio)
            high -= round(high * ratio) > width
        high = min(high, height)
        box_height = high if low >= high else low + int(u_height * (high - low + 1))
        # Rounding may push the area slightly out of range: adjust the height by one pixel.
        if box_height * round(box_height * ratio) < smallest:
            box_height += 1
        if box_height * round(box_height * ratio) > largest:
            box_height -= 1
        box_width = round(box_height * ratio)
        fits = 0 < box_height <= height and 0 < box_width <= width
        if not fits or not smallest <= box_height * box_width <= largest:
            return None
        # TensorFlow's integer range excludes the last possible position; so does this code.
        return Box(int(u_top * (height - box_height)), int(u_left * (width - box_width)), box_height, box_width)


@dataclasses.dataclass(frozen=True)
class PadAndCrop:
    """The CIFAR crop of He et al. 2015, section 4.2: pad each side with black, then cut a square at a random position.

    Attributes:
      size: side of the square output image in pixels.
      padding: number of black pixels added to each side of the image.
    """

    size: int = 32
    padding: int = 4
    num_uniforms: ClassVar[int] = 2

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """Implements `Crop.__call__`: samples the position of the square in the padded image; ignores `boxes`."""
        del boxes
        top, left = (
            int(uniform * max(1, side + 2 * self.padding - self.size + 1)) - self.padding
            for uniform, side in zip(uniforms, (height, width), strict=True)
        )
        return View(Box(0, 0, height, width), height, width, top, left)


@dataclasses.dataclass(frozen=True)
class Central:
    """Cuts a central square, whose side is a fraction of the image's shorter side, then resizes it.

    With the fraction 0.875 = 224 / 256 this is the evaluation crop of the ImageNet examples of Cloud TPU, Flax and
    Haiku (`_decode_and_center_crop`) at 224 pixels. It is close to resizing to 256 pixels and keeping the central 224.

    Attributes:
      size: side of the square output image in pixels.
      fraction: side of the square / shorter side of the image, above 0; 1 cuts the largest square. In timm: `crop_pct`.
    """

    size: int = 224
    fraction: float = 0.875
    num_uniforms: ClassVar[int] = 0

    def __post_init__(self) -> None:
        _check_fraction(self.fraction)

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """Implements `Crop.__call__` without random numbers: the central square, resized to the output size."""
        del boxes, uniforms
        # float32 as in TensorFlow: in float64, a side close to a whole number could be truncated to another one.
        side = max(1, int(np.float32(self.fraction) * np.float32(min(height, width))))
        return _resized(Box((height - side + 1) // 2, (width - side + 1) // 2, side, side), self.size)


@dataclasses.dataclass(frozen=True)
class ResizeThenCentral:
    """Resizes the shorter side to size / fraction, then cuts the central square, as timm does.

    The r1.x ResNet of the TensorFlow Models repository does so with the fraction 224 / 256 = 0.875.

    Attributes:
      size: side of the square output image in pixels.
      fraction: side of the square / resized shorter side, above 0. In timm: `crop_pct`.
    """

    size: int = 224
    fraction: float = 0.875
    num_uniforms: ClassVar[int] = 0

    def __post_init__(self) -> None:
        _check_fraction(self.fraction)

    def __call__(self, height: int, width: int, boxes: np.ndarray, uniforms: Sequence[float]) -> View:
        """Implements `Crop.__call__` without random numbers: the central square of the resized image."""
        del boxes, uniforms
        # Computed in float32 and truncated, as in `_smallest_size_at_least` of the r1.x ResNet of TensorFlow Models.
        scale = np.float32(resized_short_side(self.size, self.fraction)) / np.float32(min(height, width))
        new_height, new_width = (max(self.size, int(np.float32(side) * scale)) for side in (height, width))
        whole = Box(0, 0, height, width)
        return View(whole, new_height, new_width, (new_height - self.size) // 2, (new_width - self.size) // 2)


def create_train_crop(
    name: str = "random_resized",
    *,
    size: int = RandomResized.size,
    area: tuple[float, float] = RandomResized.area,
    aspect: tuple[float, float] = RandomResized.aspect,
    min_object_covered: float = BoxGuided.min_object_covered,
    padding: int = PadAndCrop.padding,
) -> Crop:
    """Makes the training crop with this name. Raises UsageError if there is none with this name.

    Options that are not attributes of this crop have no effect.
    """
    crops: dict[str, Callable[[], Crop]] = {
        "random_resized": lambda: RandomResized(size, area, aspect),
        "box_guided": lambda: BoxGuided(size, area, aspect, min_object_covered),
        "pad": lambda: PadAndCrop(size, padding),
    }
    return _choose("data.train_crop.name", name, crops)()


def resized_short_side(size: int, fraction: float) -> int:
    """Returns the shorter side in pixels to which `ResizeThenCentral` resizes, rounded down as in timm."""
    return int(size / fraction + 1e-6)  # 1e-6, because 32 / (32 / 93) is slightly below 93 in floating point


def create_eval_crop(name: str = "central", *, size: int = Central.size, fraction: float = Central.fraction) -> Crop:
    """Makes the evaluation crop with this name. Raises UsageError if there is none with this name."""
    return _choose("data.eval_crop.name", name, {"central": Central, "resize": ResizeThenCentral})(size, fraction)


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise UsageError(
            f"the fraction {fraction} of an evaluation crop is not above 0 and at most 1: give a fraction such as 0.875"
        )


def _choose(key: str, name: str, table: dict[str, Any]) -> Any:
    if name not in table:
        raise UsageError(f"config.{key}={name!r} is not one of {', '.join(table)}")
    return table[name]


def _resized(box: Box, size: int) -> View:
    return View(box, size, size)


def _corners(boxes: np.ndarray, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Converts boxes to (top, left, bottom, right) in pixels, truncated as in TensorFlow; no boxes: the whole image."""
    near = np.clip(np.asarray(boxes, np.float32), -1, 2)  # larger numbers could overflow as integers
    pixels = (near * np.array([height, width, height, width], np.float32)).astype(int)
    corners = [tuple(box) for box in pixels.tolist() if (box[2] - box[0]) * (box[3] - box[1]) >= 1]
    return corners if len(boxes) else [(0, 0, height, width)]


def _covered(box: Box, corners: tuple[int, int, int, int]) -> float:
    """Returns the fraction of the area of an object, given by its `corners`, that lies inside `box`."""
    top, left, bottom, right = corners
    rows = min(box.top + box.height, bottom) - max(box.top, top)
    columns = min(box.left + box.width, right) - max(box.left, left)
    return max(rows, 0) * max(columns, 0) / ((bottom - top) * (right - left))
