"""Entry point of --mode=report."""

import logging
from collections.abc import Sequence
from pathlib import Path

from resnet_jax.errors import UsageError
from resnet_jax.files import write_atomically
from resnet_jax.local_paths import local_path
from resnet_jax.programs.command import Command
from resnet_jax.programs.report.contents import RunContents, read_run
from resnet_jax.programs.report.evaluated import Images
from resnet_jax.programs.report.page import REPORT, run_page
from resnet_jax.programs.report.several import several_page
from resnet_jax.reporting.progress import show_log
from resnet_jax.text import labelled, result_name

logger = logging.getLogger(__name__)

_MOST_RUNS = 24


def main(command: Command) -> int:
    """Writes report.html of a run, or of several runs together; returns the exit status.

    It neither compiles nor loads the network, and reads only those images of the data that it shows.
    """
    show_log()
    words = command.paths or (command.workdir,)
    if len(words) > _MOST_RUNS:
        raise UsageError(f"{len(words)} runs are more than {_MOST_RUNS}: report on fewer at once")
    runs = [read_run(word) for word in dict.fromkeys(words)]
    if len(runs) == 1:
        path, page = runs[0].workdir.report_page, _with_images(runs[0])
    else:
        path, page = local_path(command.workdir, name="--workdir") / _name(runs) / REPORT, several_page(runs)
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    logger.info(labelled("written", f"{path}, {len(page.encode()) / 1e6:.2f} MB"))
    return 0


def _name(runs: Sequence[RunContents]) -> str:
    """Returns a directory name for a report on several runs: the names of the first three, and a hash of all paths."""
    return result_name([run.name for run in runs[:3]], "\n".join(str(run.workdir.path) for run in runs))


def _with_images(run: RunContents) -> str:
    """Returns the page of a run, with images of its evaluation set if that can be opened."""
    if not any(one.answers is not None for one in run.evaluations):
        return run_page(run, None)
    images, note = None, ""
    try:
        images = _evaluation_set(run.workdir.path)
    except (UsageError, ValueError, OSError) as error:
        note = f"No images: {' '.join(str(error).split())}"
        logger.warning("warning: the images cannot be shown: %s", error)
    return run_page(run, images, note=note)


def _evaluation_set(workdir: Path) -> Images:
    from resnet_jax.configs import run as run_config  # noqa: PLC0415
    from resnet_jax.experiment.readiness import open_checked_splits  # noqa: PLC0415  it loads JAX

    splits, max_pixels = open_checked_splits(run_config.get_config(str(workdir)))
    return Images(splits["validation"], max_pixels)
