"""Writes an export directory: `model.json` and the requested formats, after comparing their outputs with JAX's."""

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_jax.errors import UsageError
from resnet_jax.experiment import Inference
from resnet_jax.files import own_directory, write_json
from resnet_jax.local_paths import kind_of
from resnet_jax.programs.export.formats import FORMATS
from resnet_jax.programs.export.hub_folder import check_card
from resnet_jax.programs.export.metadata import format_size, hash_files, make_metadata
from resnet_jax.programs.export.model import SIGNATURES, Card, Model, Signatures
from resnet_jax.programs.export.onnx_int8 import Splits
from resnet_jax.programs.export.sample import Sample, compare, make_sample
from resnet_jax.text import labelled
from resnet_jax.weights.select import SelectedWeights

logger = logging.getLogger(__name__)

METADATA = "model.json"
_OWN, _NO_CARD = Signatures(), Card()


def check_request(
    directory: Path, formats: Sequence[str], signatures: Signatures = _OWN, card: Card = _NO_CARD
) -> None:
    """Raises UsageError if the directory exists, no format is requested, or an option is unknown or has no effect."""
    if not formats or not set(formats) <= set(FORMATS):
        got = ", ".join(map(repr, formats)) or "empty"
        raise UsageError(f"config.export.formats ({got}) must name some of {', '.join(FORMATS)}, such as \"('jax',)\"")
    if signatures.name not in SIGNATURES:
        raise UsageError(f"config.export.signatures={signatures.name!r} is not one of {', '.join(SIGNATURES)}")
    if signatures.name != "own" and "saved_model" not in formats:
        raise UsageError(
            f"config.export.signatures={signatures.name!r} affects only SavedModels: set "
            "config.export.formats=\"('saved_model',)\""
        )
    if signatures.batch_size is not None and signatures.name != "r1_tensor":
        raise UsageError(
            f"config.export.batch_size={signatures.batch_size} has no effect: set config.export.signatures=r1_tensor"
        )
    check_card(formats, card)
    if os.path.lexists(directory) and not directory.is_dir():
        raise UsageError(
            f"{directory} is {kind_of(directory)}: set config.export.dir to a directory that does not exist"
        )
    if directory.exists():
        raise UsageError(f"{directory} already exists: set config.export.dir to another directory, or remove this one")


def export(  # noqa: PLR0913  the last three are options of single formats
    inference: Inference,
    selected: SelectedWeights,
    class_names: Sequence[str],
    directory: Path,
    formats: Sequence[str],
    signatures: Signatures = _OWN,
    card: Card = _NO_CARD,
    *,
    splits: Splits | None = None,
) -> int:
    """Writes the formats and `model.json` to a new directory.

    The files are written to `<directory>.part`, which is renamed when all are written and checked.

    Args:
      inference: the network; its activation dtype is that of the export.
      selected: the weights.
      class_names: names of the outputs.
      directory: the directory to create.
      formats: keys of `FORMATS`.
      signatures: the signatures of the SavedModel.
      card: facts for the model card of the format 'hub'.
      splits: the data of the run, for the format 'onnx_int8'.

    Returns:
      The exit status, 0.

    Raises:
      UsageError: `directory` exists or cannot be written, `formats` is empty or has an unknown name, a format does not
        support this network, or the outputs of an export differ from those of this program.
    """
    check_request(directory, formats, signatures, card)
    model = dataclasses.replace(_make_model(inference, selected, class_names, signatures, card), splits=splits)
    for name in formats:
        FORMATS[name].check(model)
    part, cure = directory.with_name(f"{directory.name}.part"), "set config.export.dir to another directory"
    try:
        with own_directory(part, what=f"the export {directory}", cure=cure):
            # Check again: another process may have created `directory` in the meantime.
            check_request(directory, formats, signatures, card)
            sample = make_sample(inference, selected)
            written = {name: _write_format(name, model, sample, part) for name in formats}
            write_json(part / METADATA, make_metadata(model, dtype=inference.dtype, formats=written))
            part.rename(directory)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written ({error.strerror or error}): make room, or {cure}") from error
    logger.info(labelled("metadata", "%s"), directory / METADATA)
    return 0


def _make_model(
    inference: Inference, selected: SelectedWeights, class_names: Sequence[str], signatures: Signatures, card: Card
) -> Model:
    source = {"path": selected.path, "step": selected.step, "weights": selected.kind, "sha256": selected.sha256}
    return Model(
        step=inference.predict_step,
        preprocess=inference.preprocess,
        network_step=inference.network_step,
        variables=selected.variables,
        network=inference.network,
        preprocessing=inference.preprocessing,
        class_names=tuple(class_names),
        signatures=signatures,
        card=card,
        source=source,
    )


def _write_format(name: str, model: Model, sample: Sample, directory: Path) -> dict[str, Any]:
    """Writes one format, reads it back, and compares its outputs with this program's.

    Returns:
      The entry of the format in `model.json`.
    """
    path = directory / FORMATS[name].file
    FORMATS[name].write(path, model)
    entry = {"file": FORMATS[name].file, "sha256": hash_files(path)}
    measure = FORMATS[name].measure
    if measure is not None:
        return entry | {"measured": _log_measured(name, path, measure(path, model))}
    outputs = FORMATS[name].run(path, model, sample)
    compared = {signature: compare(out, sample, what=f"{name}, {signature}") for signature, out in outputs.items()}
    largest = max(comparison["largest_difference"] for comparison in compared.values())
    text = labelled(name, "%s, %s; %d images: same predicted classes, probabilities within %.1e")
    logger.info(text, FORMATS[name].file, format_size(path), len(sample.files), largest)
    return entry | {"compared": compared}


def _log_measured(name: str, path: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """Logs the accuracy of an inexact export (int8) and that of this program, to compare them; returns `measured`."""
    shown = [f"{100 * measured[key]['top1']:.2f} %" for key in ("int8", "this_program")]
    text = labelled(name, "%s, %s; top-1 %s, this program %s, n = %d, %d with the same predicted class")
    logger.info(text, path.name, format_size(path), *shown, measured["images"], measured["same_class"])
    return measured
