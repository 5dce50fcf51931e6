"""What a run leaves at its end for the user: report.html, and the commands that usually come next."""

import logging
import shlex

from resnet_jax.files import write_atomically
from resnet_jax.programs.recipes import launcher
from resnet_jax.programs.report.contents import read_run
from resnet_jax.programs.report.page import run_page
from resnet_jax.reporting.run_record import short_path
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)


def write_at_the_end(workdir: Workdir) -> None:
    """Writes report.html without evaluated images, which would take longer. Logs errors instead of raising them."""
    path = workdir.report_page
    try:
        run = read_run(workdir.path)
        note = "--mode=report shows the images of these evaluations" if run.evaluations else ""
        write_atomically(path, run_page(run, None, note=note))
    except Exception as error:  # an error in the report must not make the run fail, whatever files the run has
        logger.warning("%s could not be written: %s", path, " ".join(str(error).split()))


def next_commands(workdir: Workdir) -> list[str]:
    """Returns log lines with the commands that evaluate a finished run, write a report on it, and predict with it."""
    program, path = launcher(), workdir.mirror.address if workdir.mirror else short_path(workdir.path)
    of_run = shlex.join([*program, f"--workdir={path}"])
    lines = [labelled("to evaluate", f"{of_run} --mode=eval")]
    if not workdir.mirror:  # --mode=report cannot read a work directory in a bucket
        lines.append(labelled("then report", shlex.join([*program, "--mode=report", path])))
    return [*lines, labelled("to predict", f"{of_run} --mode=predict IMAGE")]
