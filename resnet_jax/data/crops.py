"""The geometry of crops: which box of an image is resized to the network's input. No pixels here."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

ATTEMPTS = 10  # as torchvision
UNIFORMS_PER_CROP = 4 * ATTEMPTS


class Box(NamedTuple):
    """A rectangle in whole pixels."""

    top: int
    left: int
    height: int
    width: int


class Crop(Protocol):
    """Chooses a box in an image of height x width from uniform numbers in [0, 1)."""

    def __call__(self, height: int, width: int, uniforms: Sequence[float]) -> Box:
        """See the functions below."""
        ...


def random_resized(
    height: int, width: int, uniforms: Sequence[float], *, area: tuple[float, float], aspect: tuple[float, float]
) -> Box:
    """The crop of Szegedy et al. 2015 with torchvision's sampling (`RandomResizedCrop.get_params`).

    Area uniform, aspect ratio log-uniform, place uniform; after `ATTEMPTS` boxes that do not fit, the largest
    central box of an allowed aspect ratio.

    Args:
      height: of the image.
      width: of the image.
      uniforms: `UNIFORMS_PER_CROP` numbers in [0, 1).
      area: smallest and largest share of the image's area.
      aspect: smallest and largest width / height.
    """
    log_low, log_high = math.log(aspect[0]), math.log(aspect[1])
    for attempt in range(ATTEMPTS):
        u_area, u_aspect, u_top, u_left = uniforms[4 * attempt : 4 * attempt + 4]
        target = height * width * (area[0] + u_area * (area[1] - area[0]))
        ratio = math.exp(log_low + u_aspect * (log_high - log_low))
        box_width, box_height = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top, left = int(u_top * (height - box_height + 1)), int(u_left * (width - box_width + 1))
            return Box(top, left, box_height, box_width)
    ratio = min(max(width / height, aspect[0]), aspect[1])
    return _central(height, width, min(height, round(width / ratio)), min(width, round(height * ratio)))


def central(height: int, width: int, uniforms: Sequence[float], *, fraction: float) -> Box:
    """The central square whose side is `fraction` of the shorter side.

    A fraction of 224 / 256 is the usual evaluation crop, "resize to 256, keep the central 224", in one
    resampling.
    """
    del uniforms
    side = max(1, round(fraction * min(height, width)))
    return _central(height, width, side, side)


def _central(height: int, width: int, box_height: int, box_width: int) -> Box:
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)
