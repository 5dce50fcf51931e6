"""Entry point of --mode=eval."""

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
    with open_session(command, workdir, must_hold_a_run=of_the_run) as (channel, requests):
        from resnet_jax import experiment  # noqa: PLC0415
        from resnet_jax.experiment.compile import keep_programs  # noqa: PLC0415
        from resnet_jax.programs.evaluation.evaluate import evaluate  # noqa: PLC0415
        from resnet_jax.programs.run_identity import check_same_run  # noqa: PLC0415

        settings = experiment.resolve(command.config)
        if channel.is_main:
            defaults = experiment.default_settings()
            workdir.check(settings, may_change=experiment.EVALUATION_MAY_CHANGE, defaults=defaults, cure=_cure)
        check_same_run(channel, settings, workdir)
        # Process 0 builds first: it may prepare or index the data, and the other processes use what it has written.
        with channel.first():
            evaluation = experiment.build_evaluation(command.config, cache_dir=workdir.path)
        keep_programs()
        return evaluate(evaluation, workdir, requests, channel)


def _cure() -> str:
    return "leave out --config to evaluate the run with its own config, or choose another directory with --workdir=DIR"
