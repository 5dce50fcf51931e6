"""Entry point of --mode=prepare."""

import functools
from pathlib import Path

from resnet_jax import experiment
from resnet_jax.errors import UsageError
from resnet_jax.programs.command import Command
from resnet_jax.programs.prepare.conversion import convert_to
from resnet_jax.programs.prepare.prepare import prepare
from resnet_jax.reporting.progress import show_log


def main(command: Command) -> int:
    """Makes the ImageNet data set from its archives, or a copy of other data; returns the exit status."""
    show_log()
    options = experiment.prepare_options(command.config)
    output, archives = options.pop("output"), options["archives"]
    if output is None:
        return prepare(**options)
    if archives is not None:
        raise UsageError(
            "config.prepare.output copies the data of config.data, and config.prepare.archives reads archives: set one "
            "of them, and for archives the output directory with --config.data.data_dir=DIR"
        )
    open_splits = functools.partial(experiment.open_splits, command.config, cache_dir=Path(command.workdir))
    names = ("resize_short_side", "quality", "restart_markers", "verify_all", "num_threads", "max_image_pixels")
    return convert_to(output, open_splits, **{name: options[name] for name in names})
