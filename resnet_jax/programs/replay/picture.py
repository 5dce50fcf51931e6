"""The picture of a replayed batch: each stored image with its training crop, and the network's input made from it."""

from collections.abc import Callable, Sequence
from pathlib import PurePath

import numpy as np
from matplotlib.figure import Figure

from resnet_jax.data.loader import RowOrigin
from resnet_jax.data.resize import area, bilinear
from resnet_jax.experiment.parts import ShownInputs
from resnet_jax.programs.input_page import captions
from resnet_jax.reporting.input_grid import Panel, draw_panels

_SIDE = 128  # side in pixels of the square in which a stored image is drawn
_CHARACTERS = 18  # characters of the longest file name below an image; of longer names only the end is shown
_FRAME = np.array([230, 40, 40], np.uint8)  # color of the outline of the crop
_EMPTY = 255  # gray level that fills the square beside an image that is not square


def draw_batch(
    rows: Sequence[int],
    origins: Sequence[RowOrigin],
    stored: Callable[[int], np.ndarray],
    shown: ShownInputs,
    names: Sequence[str],
    *,
    where: Callable[[int], str],
    title: str,
) -> Figure:
    """Draws some images of a batch, each as it is stored and as the network gets it.

    Args:
      rows: index in the batch of each image.
      origins: for each image, its example and its crop.
      stored: maps the index of an example to its whole image, [H, W, 3] uint8.
      shown: the network's inputs made from these images.
      names: names of the classes.
      where: maps the index of an example to the path of its file.
      title: heading of the picture.
    """
    whole = np.stack([with_crop(stored(origin.example), origin.crop, side=_SIDE) for origin in origins])
    files = [_short(PurePath(where(origin.example)).name) for origin in origins]
    about = [f"row {row}\n{file}" for row, file in zip(rows, files, strict=True)]
    inputs = [f"row {row}\n{text}" for row, text in zip(rows, captions(shown, names), strict=True)]
    side = shown.images.shape[1]
    images = shown.images.repeat(-(-_SIDE // side), axis=1).repeat(-(-_SIDE // side), axis=2)
    panels = [
        Panel("The stored images, with the region of the training crop", whole, about),
        Panel(shown.about, images, inputs),
    ]
    return draw_panels(panels, title=title)


def with_crop(image: np.ndarray, crop: tuple[float, float, float, float], *, side: int) -> np.ndarray:
    """Fits an image into a square and draws the outline of a crop: [H, W, 3] uint8 -> [side, side, 3] uint8.

    Args:
      image: the whole image.
      crop: top, left, height and width in pixels of the image; what lies beyond the image is not drawn.
      side: side of the square in pixels.
    """
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    small = np.empty((height, width, 3), np.uint8)
    (area if scale < 1 else bilinear)(image, small)
    top, left, tall, wide = (value * scale for value in crop)
    first, last = (_inside(end, height) for end in (top, top + tall - 1))
    start, end = (_inside(edge, width) for edge in (left, left + wide - 1))
    for row in (first, last):
        small[row, start : end + 1] = _FRAME
    for column in (start, end):
        small[first : last + 1, column] = _FRAME
    square = np.full((side, side, 3), _EMPTY, np.uint8)
    square[:height, :width] = small
    return square


def _short(name: str) -> str:
    """Shortens a file name to its end, because files in one folder often have names that start alike."""
    return name if len(name) <= _CHARACTERS else "…" + name[1 - _CHARACTERS :]


def _inside(position: float, length: int) -> int:
    return min(max(0, round(position)), length - 1)
