"""Writes report.html when a run ends."""

import logging

from resnet_jax.files import write_atomically
from resnet_jax.programs.report.contents import read_run
from resnet_jax.programs.report.page import REPORT, run_page
from resnet_jax.reporting.workdir import Workdir

logger = logging.getLogger(__name__)


def write_at_the_end(workdir: Workdir) -> None:
    """Writes report.html without images of evaluations, which take longer. An error is only logged."""
    path = workdir.path / REPORT
    try:
        run = read_run(workdir.path)
        note = "--mode=report shows the images of these evaluations" if run.evaluations else ""
        write_atomically(path, run_page(run, None, note=note))
    except Exception as error:  # a report must not end a run, whatever its files contain
        logger.warning("%s could not be written: %s", path, " ".join(str(error).split()))
