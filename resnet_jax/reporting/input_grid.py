"""Draws images as a network sees them: panels of equally large images, each with a caption, in one figure."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resnet_jax.data.resize import area
from resnet_jax.files import replacing
from resnet_jax.reporting.glyphs import drawable

_DPI = 100
# In pixels: the gap between images, the heights of a line of a caption, of a line of the figure's title and of the
# heading of a panel, and the gap between panels.
_GAP, _LINE, _TITLE_LINE, _HEADING, _BETWEEN = 8, 15, 18, 44, 12
_SMALLEST, _LARGEST = 96, 256  # images are enlarged to at least 96 pixels or shrunk to at most 256, by whole factors
_NARROWEST = 840  # smallest width of a figure in pixels, so that its titles have room
_CHARACTER, _TITLE_CHARACTER = 7.0, 8.6  # width of a character of a caption and of a title, in pixels
_INK, _FAINT = "#1f2328", "#59636e"


class Panel(NamedTuple):
    """Images of one size with a common title."""

    title: str
    images: np.ndarray  # [N, H, W, 3] uint8
    captions: Sequence[str]  # N captions, of one or several lines


def draw_panels(panels: Sequence[Panel], *, title: str = "", columns: int = 8) -> Figure:
    """Draws panels below each other, all images at one scale, so that objects of two panels can be compared.

    Small images are enlarged by a whole factor, pixel by pixel; images of more than 256 pixels are shrunk by a whole
    factor. The titles of the panels say the factor.

    Args:
      panels: at least one panel; the image sizes of two panels may differ.
      title: heading of the figure; '' draws none.
      columns: largest number of images side by side.

    Returns:
      The figure; `as_pixels` and `write_png` turn it into pixels.
    """
    scale = _scale(max(max(panel.images.shape[1:3]) for panel in panels))
    shown = [panel._replace(images=_scaled(panel.images, scale)) for panel in panels]
    columns = min(columns, max(len(panel.images) for panel in panels))
    width = _GAP + columns * (max(panel.images.shape[2] for panel in shown) + _GAP)
    width = max(width, _NARROWEST)
    lines = textwrap.wrap(drawable(title, title, max_length=1000), int(width / _TITLE_CHARACTER))
    heights = [_HEADING + -(-len(panel.images) // columns) * _row_height(panel) + _BETWEEN for panel in shown]
    top = _TITLE_LINE * len(lines) + _GAP
    height = top + sum(heights)
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    _write(figure, "\n".join(lines), _GAP, _GAP, size=11, color=_INK)
    for panel, panel_height in zip(shown, heights, strict=True):
        _draw_panel(figure, panel, top, columns=columns, note=_describe_scale(scale))
        top += panel_height
    return figure


def as_pixels(figure: Figure) -> np.ndarray:
    """Renders a figure to [H, W, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_png(figure: Figure, path: Path) -> None:
    """Writes a figure to a PNG file, atomically."""
    with replacing(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def _scale(side: int) -> int:
    """Returns the factor by which images whose longer side is `side` are enlarged; -n if they are shrunk by n."""
    return -(-_SMALLEST // side) if side <= _LARGEST else -side // _LARGEST


def _describe_scale(scale: int) -> str:
    return "" if scale == 1 else f"drawn {scale} times as large" if scale > 1 else f"drawn at 1/{-scale} of their size"


def _scaled(images: np.ndarray, scale: int) -> np.ndarray:
    """Resizes images [N, H, W, 3] uint8 by a factor that `_scale` returned."""
    if scale >= 1:
        return images.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = (max(1, side // -scale) for side in images.shape[1:3])
    shrunk = np.empty((len(images), height, width, 3), np.uint8)
    for image, out in zip(images, shrunk, strict=True):
        area(image, out)
    return shrunk


def _row_height(panel: Panel) -> int:
    lines = 1 + max((caption.count("\n") for caption in panel.captions), default=0)
    return panel.images.shape[1] + _LINE * lines + _GAP


def _draw_panel(figure: Figure, panel: Panel, top: int, *, columns: int, note: str) -> None:
    """Draws a panel whose upper edge is `top` pixels below the upper edge of the figure."""
    title = drawable(panel.title, panel.title, max_length=200)
    _write(figure, title, _GAP, top + 8, size=10.5, color=_INK, weight="bold")
    side, side_height = panel.images.shape[2], panel.images.shape[1]
    about = f"{len(panel.images)} images" + (f", {note}" if note else "")
    _write(figure, about, _GAP, top + 25, size=8.5, color=_FAINT)
    for number, (image, caption) in enumerate(zip(panel.images, panel.captions, strict=True)):
        row, column = divmod(number, columns)
        left, upper = _GAP + column * (side + _GAP), top + _HEADING + row * _row_height(panel)
        height = round(figure.get_figheight() * _DPI)
        figure.figimage(image, left, height - upper - side_height, origin="upper")
        lines = [drawable(line, line, max_length=int(side / _CHARACTER)) for line in caption.splitlines()]
        _write(figure, "\n".join(lines), left, upper + side_height + 3, size=8.5, color=_FAINT)


def _write(figure: Figure, text: str, x: int, top: int, **style: Any) -> None:
    """Writes text into a figure, `x` pixels from its left edge and `top` pixels from its upper edge."""
    width, height = (round(side * _DPI) for side in (figure.get_figwidth(), figure.get_figheight()))
    figure.text(x / width, 1 - top / height, text, va="top", linespacing=1.2, parse_math=False, **style)
