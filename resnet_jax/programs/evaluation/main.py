"""Entry point of --mode=eval."""

import os
import shlex

from resnet_jax.errors import UsageError
from resnet_jax.files import is_number
from resnet_jax.programs.command import Command
from resnet_jax.programs.session import open_session
from resnet_jax.reporting.workdir import Workdir


def main(command: Command) -> int:
    """Evaluates the weights that config.eval.checkpoint names; returns the exit status.

    JAX and the modules that use it are imported after `open_session` has installed the signal handlers: the imports
    take seconds, and a signal during that time must already count as a stop request.
    """
    workdir = Workdir(command.workdir)
    which = command.config.eval.checkpoint
    of_the_run = which in ("latest", "best") or is_number(which)
    _check_writable(workdir, which)
    with open_session(command, workdir, must_hold_a_run=of_the_run) as (channel, requests):
        from resnet_jax import experiment  # noqa: PLC0415
        from resnet_jax.experiment.compile_cache import keep_programs  # noqa: PLC0415
        from resnet_jax.programs.evaluation.evaluate import Place, Precise, evaluate_all, read_stored  # noqa: PLC0415
        from resnet_jax.programs.run_identity import check_same_run  # noqa: PLC0415

        settings = experiment.resolve(command.config)
        if channel.is_main:
            defaults = experiment.default_settings()
            workdir.check(settings, may_change=experiment.EVALUATION_MAY_CHANGE, defaults=defaults, cure=_cure)
        check_same_run(channel, settings, workdir)
        place = Place(workdir, requests, channel)
        stored = read_stored(experiment.weights_options(command.config), place)
        # Process 0 enters this block first: it may prepare or index the data, and the others then use its files.
        with channel.first():
            evaluations = experiment.build_evaluations(
                command.config, num_outputs=stored.num_outputs, cache_dir=workdir.path
            )
            images, precise = command.config.eval.precise_statistics, None
            if images:
                statistics = experiment.build_statistics(
                    command.config, num_outputs=stored.num_outputs, cache_dir=workdir.path
                )
                precise = Precise(statistics, images)
        keep_programs()
        return evaluate_all(evaluations, stored, place, precise=precise)


def _check_writable(workdir: Workdir, which: str) -> None:
    """Raises UsageError if the work directory is read-only, so that no result can be written there.

    The message gives the flags that evaluate the same weights and write the result to another directory.
    """
    if not workdir.path.is_dir() or os.access(workdir.path, os.W_OK):
        return
    from resnet_jax.weights.select import selected_path  # noqa: PLC0415

    path = selected_path(which, workdir.checkpoints)
    flags = shlex.join([f"--config={workdir.path}", f"--config.eval.checkpoint={path}"])
    raise UsageError(
        f"work directory {workdir.path} cannot be written: to evaluate its weights and write the result elsewhere, run "
        f"--mode=eval {flags} --workdir=DIR"
    )


def _cure() -> str:
    return "leave out --config to evaluate the run with its own config, or choose another directory with --workdir=DIR"
