"""Entry point of --mode=check_data: reads both splits, prints a table, writes JSON."""

import logging
from pathlib import Path

from resnet_jax import experiment
from resnet_jax.distributed.signals import STOPPED, Signals
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment import CheckedData
from resnet_jax.files import check_writable, new_directories_removed_on_error, write_json
from resnet_jax.local_paths import local_path
from resnet_jax.programs.check_data.findings import find
from resnet_jax.programs.check_data.report import as_json, as_lines
from resnet_jax.programs.check_data.survey import survey
from resnet_jax.programs.command import Command
from resnet_jax.programs.prepare.counter import Counter, StoppedError
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)


def main(command: Command) -> int:
    """Runs --mode=check_data; returns the exit status of `check`."""
    show_log()
    given, workdir = experiment.check_json(command.config), Workdir(command.workdir)
    path = local_path(given, name="config.check_data.json") if given else workdir.data_check
    with new_directories_removed_on_error(path.parent):
        if not given:
            path.parent.mkdir(parents=True, exist_ok=True)
        check_writable(path, key="config.check_data.json")
        data = experiment.open_checked_data(command.config, cache_dir=workdir.path)
        return check(data, path)


def check(data: CheckedData, path: Path) -> int:
    """Reads all images, logs a table and the problems, and writes the result as JSON.

    Args:
      data: the data sets.
      path: the JSON file.

    Returns:
      The exit status: 0 if there is no problem, 2 if there is one, 75 if a signal stopped the check.
    """
    requests = StopRequests()
    requests.begin(saves=False)
    with Signals(requests.ask):
        try:
            surveys = {}
            for split, source in (("train", data.train), ("eval", data.evaluation)):
                with Counter(f"{split}: read", total=len(source), requests=requests) as counter:
                    surveys[split] = survey(source, data, counter.add)
        except StoppedError:
            logger.info(labelled("stopped", "nothing is written; run the same command again to check the data"))
            return STOPPED
    found = find(data, surveys["train"], surveys["eval"])
    for line in as_lines(data, surveys, found):
        logger.info(line)
    write_json(path, as_json(data, surveys, found))
    logger.info(labelled("written", str(path)))
    return UsageError.exit_status if found.problems else 0
