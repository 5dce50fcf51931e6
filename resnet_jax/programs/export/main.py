"""Entry point of --mode=export."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_jax.local_paths import is_bucket, is_hub_address, local_path
from resnet_jax.programs.command import Command
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.workdir import Workdir

if TYPE_CHECKING:
    from resnet_jax.experiment import ExportOptions, Inference
    from resnet_jax.programs.export.model import Card
    from resnet_jax.programs.export.onnx_int8 import Splits
    from resnet_jax.weights.select import SelectedWeights


def main(command: Command) -> int:
    """Exports the weights that config.eval.checkpoint names; returns the exit status.

    Exports are compared with predictions of this program. These are computed on one device, because bfloat16 results
    of a network sharded over several devices are rounded differently.
    """
    show_log()
    # On SIGTERM raise SystemExit, so that `own_directory` removes the unfinished files; the default action leaves them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    import jax  # noqa: PLC0415

    from resnet_jax import experiment  # noqa: PLC0415
    from resnet_jax.programs.export.export import check_request, export  # noqa: PLC0415
    from resnet_jax.programs.export.hub_folder import HUB  # noqa: PLC0415
    from resnet_jax.programs.export.model import Card, Signatures  # noqa: PLC0415
    from resnet_jax.programs.export.push import check_push, push  # noqa: PLC0415
    from resnet_jax.programs.trained_network import load_network  # noqa: PLC0415

    options = experiment.export_options(command.config)
    given = options.dir and local_path(options.dir, name="config.export.dir", only_utf8=True)
    directory = given or _default_directory(command)
    signatures = Signatures(options.signatures, options.batch_size, options.dtype)
    check_request(directory, options.formats, signatures, Card(license=options.license, push_to=options.push_to))
    if options.push_to:
        check_push(options.push_to)
    network = load_network(command, dtype=options.dtype, devices=jax.devices()[:1])
    card, splits = _card(command, options, network.weights), _splits(command, options, network.inference)
    status = export(*network, directory, options.formats, signatures, card, splits=splits)
    if options.push_to:
        push(directory / HUB, options.push_to)
    return status


def _splits(command: Command, options: "ExportOptions", inference: "Inference") -> "Splits | None":
    """Opens the data of the run if a requested format needs them (int8); else returns None."""
    from resnet_jax import experiment  # noqa: PLC0415
    from resnet_jax.programs.export.formats import INT8  # noqa: PLC0415
    from resnet_jax.programs.export.onnx_int8 import make_splits  # noqa: PLC0415

    if INT8 not in options.formats:
        return None
    return make_splits(experiment.open_splits(command.config, cache_dir=Path(command.workdir)), inference.make_loader)


def _card(command: Command, options: "ExportOptions", weights: "SelectedWeights") -> "Card":
    """Returns the facts of the model card; facts about training only if the weights are a checkpoint of the run."""
    from resnet_jax import experiment  # noqa: PLC0415
    from resnet_jax.programs.export.hub_folder import certificates_of  # noqa: PLC0415
    from resnet_jax.programs.export.model import Card  # noqa: PLC0415

    workdir = Workdir(command.workdir)
    is_of_run = Path(weights.path).is_relative_to(workdir.checkpoints)
    starts = workdir.starts() if is_of_run else []
    return Card(
        title=options.push_to.split("/")[-1] if options.push_to else workdir.path.name,
        license=options.license,
        push_to=options.push_to,
        training=experiment.training_changes(command.config) if is_of_run else {},
        data={split: starts[-1]["data"][split] for split in ("train", "eval")} if starts else {},
        certificates=certificates_of(workdir.evaluations, weights.sha256),
    )


def _default_directory(command: Command) -> Path:
    """Returns <workdir>/exports/<name of the weights>, for example runs/digits/exports/808-ema."""
    from resnet_jax.weights.hub import repository  # noqa: PLC0415
    from resnet_jax.weights.select import selected_path  # noqa: PLC0415

    workdir, weights = Workdir(command.workdir), command.config.eval
    path = selected_path(weights.checkpoint, workdir.checkpoints)
    if is_hub_address(path):
        name = repository(path).split("/")[-1]
    elif is_bucket(path):
        name = path.rstrip("/").split("/")[-1]
    else:
        name = local_path(path, name="config.eval.checkpoint").resolve().name
    name = name.removesuffix(".safetensors").removesuffix(".pth")
    return workdir.path / "exports" / "-".join(filter(None, [name, weights.weights]))
