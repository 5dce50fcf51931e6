"""Compares the config of a command that computes with a run, other than training it, with the config of the run."""

import dataclasses

from resnet_jax.programs.command import Command
from resnet_jax.reporting.workdir import Workdir


def of_run(command: Command, workdir: Workdir, *, verb: str, without_checkpoints: bool = False) -> Command:
    """Returns the command with a config that begins as the run did.

    Imports JAX, so that it must be called after `open_session`.

    Args:
      command: the command.
      workdir: holds the run.
      verb: what the command does with the run, for the message.
      without_checkpoints: whether the config of a run without checkpoints is compared too.

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
