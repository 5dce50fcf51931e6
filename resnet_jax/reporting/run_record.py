"""What a run leaves in its work directory besides checkpoints: how it was started, its metrics, how it ended."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from clu import platform

from resnet_jax.nested import flatten
from resnet_jax.reporting import provenance
from resnet_jax.reporting.bottleneck import advice, time_table
from resnet_jax.reporting.workdir import FINISHED, Workdir
from resnet_jax.reporting.writers import Writers

logger = logging.getLogger(__name__)


def begin_record(
    workdir: Workdir,
    settings: dict[str, Any],
    start_step: int,
    *,
    data: dict[str, Any],
    class_names: Sequence[str],
    tensorboard: bool,
    first_images: Callable[[int], np.ndarray],
) -> Writers:
    """Writes `config.json`, `run.json` and `classes.json` before the first step of a start, and opens the metrics.

    Args:
      workdir: directory of the run.
      settings: the resolved config.
      start_step: step at which this start begins; lines of `metrics.jsonl` after it are dropped.
      data: identity of the data, as in checkpoints.
      class_names: names of the classes, in the order of the outputs.
      tensorboard: whether TensorBoard event files are written.
      first_images: returns the first N training images, [N, H, W, 3] uint8.
    """
    workdir.forget_metrics_after(start_step)
    start = provenance.describe_start(start_step) | {"data": data}
    workdir.record_start(settings, start, class_names=class_names)
    platform.work_unit().create_artifact(platform.ArtifactType.DIRECTORY, str(workdir.path), "workdir")
    writers = Writers(workdir.metrics, tensorboard_dir=workdir.path if tensorboard else None)
    if start_step == 0:
        writers.hyperparameters(flatten(settings))
        if writers.shows_images:
            writers.images(0, "train/images", first_images(16))
    return writers


def end_record(result: dict[str, Any], workdir: Workdir, *, decoders: dict[str, int]) -> None:
    """Writes `result.json`, draws `report.png`, and logs a summary of a finished run.

    Args:
      result: content of `result.json`.
      workdir: directory of the run.
      decoders: what decodes images, as the keyword arguments of `advice`.
    """
    workdir.write_result(result)
    _draw(workdir)
    if result["stop_reason"] in FINISHED:
        logger.info("\nFinished     step %d of %d", result["step"], result["total_steps"])
        for line in [*summary(result, workdir), *_advice(result, decoders)]:
            logger.info(line)


def _draw(workdir: Workdir) -> None:
    """A picture is no reason to fail."""
    try:
        from resnet_jax.reporting.report_picture import draw  # noqa: PLC0415  matplotlib takes a second to load

        draw(workdir.metrics, workdir.report, title=workdir.path.name)
    except Exception as error:  # whatever matplotlib raises
        logger.warning("%s is not drawn: %s", workdir.report, " ".join(str(error).split()))


def _advice(result: dict[str, Any], decoders: dict[str, int]) -> list[str]:
    words = advice(result["seconds"], **decoders)
    lines = [f"limit        {words}"] if words else []
    if result["programs_compiled_later"]:
        count = result["programs_compiled_later"]
        lines.append(f"compiled     {count} programs after the first step, where there should be none: the steps wait")
    return lines


def summary(result: dict[str, Any], workdir: Workdir) -> list[str]:
    """Says in words what `result.json` says, where things are, and how to look at them."""
    lines = time_table(result["seconds"])
    if result["images_per_second"]:
        lines.append(f"rate         {result['images_per_second']:,.0f} images/s while training")
    if result["eval"]:
        lines.insert(0, f"accuracy     {accuracy(result['eval'])}")
    if result["best"]:
        best = result["best"]
        lines.insert(1, f"best         top-1 {100 * best['top1']:.2f} % at step {best['step']:,}")
    if result["bad_examples"]:
        lines.append(f"unreadable   {result['bad_examples']:,} images: {_short(workdir.bad_examples)}")
    lines.append(f"results      {_short(workdir.result)}, {workdir.metrics.name}, {workdir.log.name}")
    if workdir.report.exists():
        lines.append(f"report       {_short(workdir.report)}: loss, accuracy, rate, and where the time went")
    lines.append(f"checkpoints  {_short(workdir.checkpoints)}")
    if list(workdir.path.glob("events.out.tfevents.*")):
        program = Path(sys.executable).parent / "tensorboard"
        lines.append(f"TensorBoard  {_short(program)} --logdir {_short(workdir.path)}")
    return lines


def accuracy(scalars: dict[str, Any]) -> str:
    """In percent, and of how many examples."""
    return f"top-1 {100 * scalars['top1']:.2f} %, top-5 {100 * scalars['top5']:.2f} %, n = {scalars['count']:,}"


def _short(path: Path) -> str:
    """The path from here if it is below, else in full."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
