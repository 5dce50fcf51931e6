"""The page of training and evaluation inputs: what the network sees, with class names, in one picture."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.parts import ShownInputs
from resnet_jax.reporting.glyphs import drawable
from resnet_jax.reporting.input_grid import Panel, as_pixels, draw_panels, write_png

logger = logging.getLogger(__name__)


def draw_page(experiment: Experiment) -> Figure:
    """Draws some images of the first training step and of evaluation, cropped and augmented as the network gets them.

    Raises:
      UsageError: no training image can be read.
    """
    reporting, names = experiment.reporting, experiment.data.class_names
    panels = [Panel(shown.about, shown.images, captions(shown, names)) for shown in experiment.show_inputs()]
    return draw_panels(panels, title=f"{reporting.data_name}: {reporting.views}")


def write_page(experiment: Experiment, path: Path) -> np.ndarray | None:
    """Writes the page to a PNG file and returns its pixels [H, W, 3] uint8; if that fails, logs it and returns None."""
    try:
        figure = draw_page(experiment)
        write_png(figure, path)
        return as_pixels(figure)
    except Exception as error:  # matplotlib raises errors of many types
        logger.warning("%s could not be drawn: %s", path, " ".join(str(error).split()))
        return None


def captions(shown: ShownInputs, class_names: Sequence[str]) -> list[str]:
    """Returns a caption for each image: its class; for a mix of two images (mixup, CutMix) both classes in percent."""
    rows = zip(shown.labels.tolist(), shown.partners.tolist(), shown.shares.tolist(), strict=True)
    return [_mixed(_name(label, class_names), _name(partner, class_names), share) for label, partner, share in rows]


def _mixed(name: str, partner: str, share: float) -> str:
    percent = round(100 * share)
    if percent in (0, 100):
        return name if percent else partner
    return f"{percent} % {name}\n{100 - percent} % {partner}"


def _name(label: int, class_names: Sequence[str]) -> str:
    return "(unreadable)" if label == UNREADABLE else drawable(class_names[label], f"class {label}", max_length=40)
