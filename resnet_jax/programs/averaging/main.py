"""Entry point of --mode=average."""

import dataclasses
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_jax.distributed.signals import STOPPED
from resnet_jax.programs.command import Command
from resnet_jax.programs.config_of_run import of_run
from resnet_jax.programs.recipes import launcher
from resnet_jax.programs.session import open_session
from resnet_jax.reporting.run_record import short_path
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.text import labelled

if TYPE_CHECKING:
    from resnet_jax.weights import StoredWeights

logger = logging.getLogger(__name__)


def main(command: Command) -> int:
    """Averages checkpoints of the run in the work directory; returns the exit status.

    JAX and the modules that use it are imported after `open_session` has installed the signal handlers: the imports
    take seconds, and a signal during that time must already count as a stop request.
    """
    workdir = Workdir(command.workdir)
    with open_session(command, workdir, must_hold_a_run=True) as (_, requests):
        from resnet_jax import experiment  # noqa: PLC0415
        from resnet_jax.experiment.compile_cache import keep_programs  # noqa: PLC0415
        from resnet_jax.programs.averaging.average import average, checkpoint_paths  # noqa: PLC0415
        from resnet_jax.weights import read_weights  # noqa: PLC0415
        from resnet_jax.weights.select import select_weights  # noqa: PLC0415

        command = of_run(command, workdir, verb="average")
        options = experiment.average_options(command.config)
        kind = experiment.weights_options(command.config).kind
        paths = checkpoint_paths(options.checkpoints, workdir.checkpoints, last=options.last)
        stored = [read_weights(path, kind=kind) for path in paths]
        mean = dataclasses.replace(stored[0], arrays=average(stored), path=f"the average of {', '.join(paths)}")
        statistics = experiment.build_statistics(command.config, num_outputs=mean.num_outputs, cache_dir=workdir.path)
        computation = statistics.computation
        variables: dict[str, Any] = select_weights(mean, computation.shapes, network=computation.network).variables
        keep_programs()
        if options.images:
            requests.begin(saves=False)
            anew = statistics.compute(variables, options.images, stopping=requests.stop_here)
            if anew is None:
                return STOPPED
            variables = anew
            logger.info(labelled("statistics", f"computed anew from {statistics.describe(options.images)}"))
        workdir.begin()
        path = _write(workdir, variables, stored, images=statistics.num_images(options.images))
        _show_use(workdir, path)
        return 0


def _write(workdir: Workdir, variables: dict[str, Any], stored: "list[StoredWeights]", *, images: int) -> Path:
    """Writes the average as a checkpoint, which replaces an earlier one of the same name; returns its path."""
    from resnet_jax.checkpoints import files  # noqa: PLC0415
    from resnet_jax.files import delete  # noqa: PLC0415
    from resnet_jax.programs.averaging.average import average_name  # noqa: PLC0415

    path = workdir.averages / average_name(stored, anew=images > 0)
    path.parent.mkdir(exist_ok=True)
    delete(path)
    meta = {
        "step": max((one.step for one in stored if one.step is not None), default=None),
        "data": {"class_list": stored[0].class_list} if stored[0].class_list else {},
        "network": stored[0].settings,
        "average": {
            "of": [{"path": one.path, "step": one.step, "kind": one.kind} for one in stored],
            "statistics_images": images,
        },
    }
    files.write(path, variables, meta, top1=None)
    logger.info(labelled("written", str(path)))
    return path


def _show_use(workdir: Workdir, path: Path) -> None:
    flags = [f"--workdir={short_path(workdir.path)}", "--mode=eval", f"--config.eval.checkpoint={short_path(path)}"]
    logger.info(labelled("to evaluate", " ".join([*launcher(), *map(shlex.quote, flags)])))
