"""Entry point of --mode=export."""

import signal
import sys
from pathlib import Path

from resnet_jax.local_paths import local_path
from resnet_jax.programs.command import Command
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.workdir import Workdir


def main(command: Command) -> int:
    """Exports the weights that config.eval.checkpoint names; returns the exit status.

    Exports are compared with predictions of this program, which are computed on one device, as in serving: sharded over
    several devices, bfloat16 results would be rounded differently.
    """
    show_log()
    # On SIGTERM raise SystemExit, so that `own_directory` removes the unfinished files; the default action leaves them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    import jax  # noqa: PLC0415

    from resnet_jax import experiment  # noqa: PLC0415
    from resnet_jax.programs.export.export import check_request, export  # noqa: PLC0415
    from resnet_jax.programs.export.model import Signatures  # noqa: PLC0415
    from resnet_jax.programs.trained_network import load_network  # noqa: PLC0415

    options = experiment.export_options(command.config)
    given = options.dir and local_path(options.dir, name="config.export.dir", only_utf8=True)
    directory = given or _default_directory(command)
    signatures = Signatures(options.signatures, options.batch_size, options.dtype)
    check_request(directory, options.formats, signatures)
    network = load_network(command, dtype=options.dtype, devices=jax.devices()[:1])
    return export(*network, directory, options.formats, signatures)


def _default_directory(command: Command) -> Path:
    """Returns <workdir>/exports/<name of the weights>, for example runs/digits/exports/808-ema."""
    from resnet_jax.weights.select import selected_path  # noqa: PLC0415

    workdir, weights = Workdir(command.workdir), command.config.eval
    found = local_path(selected_path(weights.checkpoint, workdir.checkpoints), name="config.eval.checkpoint").resolve()
    name = found.name.removesuffix(".safetensors").removesuffix(".pth")
    return workdir.path / "exports" / "-".join(filter(None, [name, weights.weights]))
