"""Records the start and the end of a run in its work directory, and logs a summary at the end."""

import functools
import logging
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clu import platform

from resnet_jax.reporting import metrics_file, provenance, step_file
from resnet_jax.reporting.bottleneck import advice, time_table
from resnet_jax.reporting.code_state import record_code
from resnet_jax.reporting.progress import accuracies_in_percent
from resnet_jax.reporting.trackers import TrackedRun, open_tracker
from resnet_jax.reporting.trackers.background import BackgroundTracker
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.reporting.writers import Writers
from resnet_jax.text import labelled

logger = logging.getLogger(__name__)


class Tracking(NamedTuple):
    """The trackers of a run, and what they show besides metrics."""

    names: Sequence[str]  # names of the trackers, keys of `TRACKERS`
    settings: dict[str, Any]  # dotted config key -> value; None is replaced by the value computed from the data
    leave_out: tuple[str, ...]  # tags of metrics that have no value in this run, such as 'eval/top5'


def begin_record(
    workdir: Workdir,
    settings: dict[str, Any],
    start_step: int,
    *,
    data: dict[str, Any],
    class_names: Sequence[str],
    tracking: Tracking,
) -> Writers:
    """Writes `config.json`, `run.json` and `classes.json` when a run starts or continues; returns the metrics writers.

    Args:
      workdir: directory of the run.
      settings: the resolved config.
      start_step: step from which the run starts or continues; lines of `metrics.jsonl` after it are dropped.
      data: JSON values that identify the data sets: `Data.identity` in `experiment/parts.py`.
      class_names: names of the classes, in the order of the outputs.
      tracking: the trackers, and what they show besides metrics.
    """
    metrics_file.drop_lines_after(workdir.metrics, start_step)
    step_file.drop_steps_after(workdir.steps, start_step)
    # A run that starts at step 0 gets a new ID, even if the directory held a run before: trackers show it as a new run.
    run_id = (workdir.earlier_run_id() if start_step else None) or secrets.token_hex(4)
    start = provenance.describe_start(start_step) | {"data": data, "run_id": run_id}
    start |= {"code": record_code(workdir.code)}
    workdir.record_start(settings, start, class_names=class_names)
    platform.work_unit().create_artifact(platform.ArtifactType.DIRECTORY, str(workdir.path), "workdir")
    run = TrackedRun(workdir.path, run_id, start_step, tracking.settings, tracking.leave_out)
    opened = [BackgroundTracker(name, functools.partial(open_tracker, name, run)) for name in tracking.names]
    return Writers(workdir.metrics, opened, steps=workdir.steps)


def end_record(result: dict[str, Any], workdir: Workdir) -> None:
    """Writes `result.json`, whose content is `result`, and `report.png`."""
    workdir.write_result(result)
    _write_report(workdir)


def log_end(result: dict[str, Any], workdir: Workdir, *, decoders: dict[str, Any]) -> None:
    """Logs the summary of a finished run.

    Args:
      result: content of `result.json`.
      workdir: directory of the run.
      decoders: the keyword arguments of `advice`: the source of the data, and the numbers of decoding processes, of
        decoding threads and of CPU cores.
    """
    logger.info("\n" + labelled("Finished", f"step {result['step']} of {result['total_steps']}"))
    for line in [*summary(result, workdir), *_advice(result, decoders)]:
        logger.info(line)


def _write_report(workdir: Workdir) -> None:
    """Writes `report.png`; an error is logged and does not fail the run."""
    try:
        from resnet_jax.reporting.report_picture import write_report  # noqa: PLC0415  matplotlib takes a second to load

        write_report(workdir.metrics, workdir.report, title=workdir.path.name)
    except Exception as error:  # matplotlib raises errors of many types
        logger.warning("%s could not be drawn: %s", workdir.report, " ".join(str(error).split()))


def _advice(result: dict[str, Any], decoders: dict[str, Any]) -> list[str]:
    found = advice(result["seconds"], **decoders)
    lines = [labelled("limit", found)] if found else []
    if result["programs_compiled_later"]:
        text = f"{result['programs_compiled_later']} programs after the first step, expected none: training waited"
        lines.append(labelled("compiled", text))
    return lines


def summary(result: dict[str, Any], workdir: Workdir) -> list[str]:
    """Returns log lines with the accuracy, the time by phase, the images/s, and the paths of the results.

    Args:
      result: content of `result.json`.
      workdir: directory of the run.
    """
    lines = time_table(result["seconds"])
    if result["images_per_second"]:
        lines.append(labelled("speed", f"{result['images_per_second']:,.0f} images/s while training"))
    if result["eval"]:
        lines.insert(0, labelled("accuracy", accuracy(result["eval"])))
    if result["best"]:
        best = result["best"]
        lines.insert(1, labelled("best", f"top-1 {100 * best['top1']:.2f} % at step {best['step']:,}"))
    if result["bad_examples"]:
        lines.append(labelled("unreadable", f"{result['bad_examples']:,} images: {short_path(workdir.bad_examples)}"))
    lines.append(labelled("results", f"{short_path(workdir.result)}, {workdir.metrics.name}, {workdir.log.name}"))
    reports = [path for path in (workdir.report_page, workdir.report) if path.exists()]
    if reports:
        names = ", ".join([short_path(reports[0]), *(path.name for path in reports[1:])])
        lines.append(labelled("report", f"{names}: loss, accuracy, learning rate, speed, and where the time went"))
    lines.append(labelled("checkpoints", short_path(workdir.checkpoints)))
    if workdir.mirror:
        lines = [line.replace(str(workdir.path), workdir.mirror.address) for line in lines]
    if list(workdir.path.glob("events.out.tfevents.*")):
        program = Path(sys.executable).parent / "tensorboard"
        lines.append(labelled("TensorBoard", f"{short_path(program)} --logdir {short_path(workdir.path)}"))
    return lines


def accuracy(scalars: dict[str, Any]) -> str:
    """Formats top-1 and top-5 accuracy in percent, where they are known, with the number of examples."""
    return ", ".join([*accuracies_in_percent(scalars), f"n = {scalars['count']:,}"])


def short_path(path: Path) -> str:
    """Returns a path below the current directory relative to that directory, any other path as it is."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
