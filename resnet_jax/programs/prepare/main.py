"""Entry point of --mode=prepare."""

from resnet_jax import experiment
from resnet_jax.programs.command import Command
from resnet_jax.programs.prepare.prepare import prepare
from resnet_jax.reporting.progress import show_log


def main(command: Command) -> int:
    """Makes the ImageNet data set from its archives; returns the exit status."""
    show_log()
    return prepare(**experiment.prepare_options(command.config))
