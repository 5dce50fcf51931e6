"""Entry point of --mode=replay."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_jax.distributed.signals import STOPPED
from resnet_jax.errors import UsageError
from resnet_jax.programs.command import Command
from resnet_jax.programs.config_of_run import of_run
from resnet_jax.programs.session import open_session
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import labelled

if TYPE_CHECKING:
    from resnet_jax.experiment import Experiment
    from resnet_jax.programs.replay.replay import Replay

logger = logging.getLogger(__name__)


def main(command: Command) -> int:
    """Computes a training step of the run in the work directory again; returns the exit status.

    This is config.replay.step or, if that is not set, the step whose loss was not finite.

    JAX and the modules that use it are imported after `open_session` has installed the signal handlers: the imports
    take seconds, and a signal during that time must already count as a stop request.
    """
    workdir = Workdir(command.workdir)
    with open_session(command, workdir, must_hold_a_run=True) as (_, requests):
        from resnet_jax import experiment  # noqa: PLC0415
        from resnet_jax.experiment.compile_cache import keep_programs  # noqa: PLC0415
        from resnet_jax.programs.replay.replay import replay  # noqa: PLC0415

        command = of_run(command, workdir, verb="replay", without_checkpoints=True)
        options = experiment.replay_options(command.config)
        step = options.step or _failed_step(workdir)
        built = experiment.build(command.config, cache_dir=workdir.path, refuse_tiny_crops=False)
        keep_programs()
        replayed = replay(built, workdir, step, requests)
        if replayed is None:
            return STOPPED
        workdir.begin()
        _report(built, replayed, workdir.replays / str(step), most=options.images)
        return 0


def _failed_step(workdir: Workdir) -> int:
    """Returns the step whose loss was not finite and ended the run. Raises UsageError if the run has none."""
    result = workdir.stored_result()
    if result is None or result["failed_step"] is None:
        raise UsageError(
            f"the run in {workdir.path} has no step whose loss was not finite: name a step, --config.replay.step=N, "
            "counted from 1 as in metrics.jsonl"
        )
    step: int = result["failed_step"]
    return step


def _report(experiment: "Experiment", replayed: "Replay", directory: Path, *, most: int) -> None:
    """Logs the replayed step and writes it to `directory`, with a picture of at most `most` images of its batch."""
    from resnet_jax.programs.replay import files  # noqa: PLC0415
    from resnet_jax.programs.replay.finding import find  # noqa: PLC0415
    from resnet_jax.programs.replay.lines import finding_lines, replay_lines  # noqa: PLC0415
    from resnet_jax.programs.replay.picture import draw_batch  # noqa: PLC0415
    from resnet_jax.reporting.input_grid import write_png  # noqa: PLC0415

    source, names, layers = experiment.data.train_loader.source, experiment.data.class_names, replayed.layers
    finding = find(layers, replayed.parameters) if layers else None
    lines = replay_lines(replayed, source.where, names)
    lines += finding_lines(replayed, finding, source.where, names) if layers else []
    for line in lines:
        logger.info(line)
    directory.mkdir(parents=True, exist_ok=True)
    rows = range(len(replayed.origins))
    shown = experiment.show_rows(replayed.step - 1, replayed.batch, rows)
    drawn = [*(finding.rows if finding and finding.in_few else ()), *rows]
    drawn = list(dict.fromkeys(drawn))[:most]
    figure = draw_batch(
        drawn,
        [replayed.origins[row] for row in drawn],
        experiment.data.train_loader.stored_image,
        shown.of_rows(drawn),
        names,
        where=source.where,
        title=f"{experiment.reporting.data_name}: the batch of step {replayed.step}",
    )
    write_png(figure, directory / files.PICTURE)
    files.write_rows(directory, replayed, shown, finding, where=source.where, names=names)
    if layers:
        files.write_layers(directory, layers)
    files.write_result(directory, replayed, finding)
    written = [files.RESULT, files.ROWS, files.PICTURE, *([files.LAYERS] if layers else [])]
    logger.info(labelled("written", f"{directory}/: {', '.join(written)}"))
