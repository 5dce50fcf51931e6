"""Draws what the network sees: a page of training and evaluation inputs with class names; trains nothing."""

import logging
from pathlib import Path

from resnet_jax import experiment as experiments
from resnet_jax.experiment import Experiment
from resnet_jax.files import check_writable
from resnet_jax.local_paths import local_path
from resnet_jax.programs.command import Command
from resnet_jax.programs.input_page import draw_page
from resnet_jax.reporting.input_grid import write_png
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)


def main(command: Command) -> int:
    """Runs --mode=show; returns the exit status."""
    show_log()
    given, workdir = experiments.show_png(command.config), Workdir(command.workdir)
    path = local_path(given, name="config.show.png") if given else workdir.inputs
    built = experiments.build(command.config, refuse_tiny_crops=False)
    if not given:
        workdir.path.mkdir(parents=True, exist_ok=True)
    check_writable(path, key="config.show.png")
    return show(built, path)


def show(experiment: Experiment, path: Path) -> int:
    """Draws the page into a PNG file, and logs what part of an image the training and evaluation crops show.

    Returns:
      The exit status, 0.
    """
    lines = experiment.reporting.description
    shown = {label: lines[label] for label in ("data", "left out", "inputs", "warning") if label in lines}
    for label, line in (shown | {"views": experiment.reporting.views}).items():
        logger.info(labelled(label, line))
    write_png(draw_page(experiment), path)
    logger.info(labelled("written", f"{path}: training and evaluation inputs with class names"))
    return 0
