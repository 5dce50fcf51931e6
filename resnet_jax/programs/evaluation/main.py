"""Entry point of --mode=eval."""

from resnet_jax.programs.command import Command
from resnet_jax.programs.session import open_session
from resnet_jax.reporting.workdir import Workdir


def main(command: Command) -> int:
    """Evaluates the weights that config.eval.checkpoint names; returns the exit status.

    JAX and the modules that use it are imported after the session is open: the imports take seconds, and a signal
    that arrives meanwhile must already be handled as a stop request.
    """
    workdir = Workdir(command.workdir)
    which = command.config.eval.checkpoint
    of_the_run = which in ("latest", "best") or which.isdigit()
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
        with channel.first():  # process 0 first: it may index or prepare the data for all
            evaluation = experiment.build_evaluation(command.config, cache_dir=workdir.path)
        keep_programs()
        return evaluate(evaluation, workdir, requests, channel)


def _cure() -> str:
    return "leave out --config to evaluate the run with its own config, or choose another directory with --workdir=DIR"
