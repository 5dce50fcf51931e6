"""What a run leaves in its work directory besides checkpoints: how it was started, its metrics, how it ended."""

import logging
from typing import Any

from clu import platform

from resnet_jax import provenance
from resnet_jax.data.feed import decoders
from resnet_jax.experiment import Experiment
from resnet_jax.ledger_words import advice
from resnet_jax.summary import summary
from resnet_jax.workdir import FINISHED, Workdir, flatten
from resnet_jax.writers import Writers

logger = logging.getLogger(__name__)


def begin_record(experiment: Experiment, workdir: Workdir, settings: dict[str, Any], start_step: int) -> Writers:
    """Writes down what is known before the first step of a start, and opens the metrics.

    Args:
      experiment: what is trained.
      workdir: of the run.
      settings: the resolved config.
      start_step: where it goes on; metrics of later steps are forgotten.
    """
    workdir.forget_metrics_after(start_step)
    start = provenance.describe_start(start_step) | {"data": experiment.data}
    workdir.record_start(settings, start, class_names=experiment.class_names)
    platform.work_unit().create_artifact(platform.ArtifactType.DIRECTORY, str(workdir.path), "workdir")
    writers = Writers(workdir.metrics, tensorboard_dir=workdir.path if experiment.tensorboard else None)
    if start_step == 0:
        writers.hyperparameters(flatten(settings))
        if writers.shows_images:
            writers.images(0, "train/images", experiment.train_loader.first_images(16))
    return writers


def end_record(experiment: Experiment, result: dict[str, Any], workdir: Workdir) -> None:
    """Writes `result.json` and draws `report.png`; of a run that is finished, says what is in them."""
    workdir.write_result(result)
    _draw(workdir)
    if result["stop_reason"] in FINISHED:
        logger.info("\nFinished     step %d of %d", result["step"], result["total_steps"])
        for line in [*summary(result, workdir), *_advice(experiment, result)]:
            logger.info(line)


def _draw(workdir: Workdir) -> None:
    """A picture is no reason to fail."""
    try:
        from resnet_jax.report_picture import draw  # noqa: PLC0415  matplotlib takes a second to load

        draw(workdir.metrics, workdir.report, title=workdir.path.name)
    except Exception as error:  # whatever matplotlib raises
        logger.warning("%s is not drawn: %s", workdir.report, " ".join(str(error).split()))


def _advice(experiment: Experiment, result: dict[str, Any]) -> list[str]:
    words = advice(result["seconds"], **decoders(experiment.num_threads, experiment.num_workers))
    lines = [f"limit        {words}"] if words else []
    if result["programs_compiled_later"]:
        count = result["programs_compiled_later"]
        lines.append(f"compiled     {count} programs after the first step, where there should be none: the steps wait")
    return lines
