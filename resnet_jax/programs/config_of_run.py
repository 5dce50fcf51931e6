"""Checks that the config of a command that uses an existing run, such as --mode=replay, is the config of that run."""

import dataclasses

from resnet_jax.programs.command import Command
from resnet_jax.reporting.workdir import Workdir


def of_run(command: Command, workdir: Workdir, *, verb: str, without_checkpoints: bool = False) -> Command:
    """Checks the config of a command against that of a run, and returns the command with the checked config.

    Config keys that were added to the program after the run began get the values that the run was trained with.
    This function imports JAX, so it must be called after `open_session`.

    Args:
      command: the command.
      workdir: the work directory of the run.
      verb: what the command does with the run, for example 'replay'; part of the error message.
      without_checkpoints: whether to check the config of a run without checkpoints too; False: such a run may get any
        config.

    Raises:
      UsageError: the config differs from that of the run in a key that a continued run may not change.
    """
    from resnet_jax import experiment  # noqa: PLC0415

    command = dataclasses.replace(command, config=experiment.as_begun(command.config, workdir.keys_added_since()))
    workdir.check(
        experiment.resolve(command.config),
        may_change=experiment.MAY_CHANGE,
        without_checkpoints=without_checkpoints,
        defaults=experiment.default_settings(),
        cure=lambda: f"leave out --config to {verb} the run with its own config",
    )
    return command
