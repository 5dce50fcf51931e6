"""Exports: a directory of files that serve without this program, compared with it before the directory is there."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resnet_jax.data.class_names import fingerprint
from resnet_jax.data.sources import open_source
from resnet_jax.distributed.mesh import over_batch, put_on_devices, replicated
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Inference
from resnet_jax.experiment.compile import compile_predict_step
from resnet_jax.files import own_directory
from resnet_jax.programs.export.formats import FORMATS
from resnet_jax.programs.export.jax_artifact import PLATFORMS
from resnet_jax.programs.export.model import Model, Outputs, Sample, compare
from resnet_jax.reporting.provenance import versions
from resnet_jax.weights.select import SelectedWeights

logger = logging.getLogger(__name__)

METADATA = "model.json"
# Of the made-up photographs that every export is compared on: height and width in pixels, and how many of each.
_PICTURES = ((375, 500), (500, 333), (97, 120), (224, 224))
_EACH = 8


def check_request(directory: Path, formats: Sequence[str]) -> None:
    """Raises UsageError for a directory that is there, no formats, or an unknown one."""
    if not formats or not set(formats) <= set(FORMATS):
        got = ", ".join(map(repr, formats)) or "empty"
        raise UsageError(f"config.export.formats ({got}) are to be of {', '.join(FORMATS)}, as \"('jax',)\"")
    if directory.exists():
        raise UsageError(f"{directory} is there already: name another with config.export.dir, or remove it")


def export(
    inference: Inference, selected: SelectedWeights, class_names: Sequence[str], directory: Path, formats: Sequence[str]
) -> int:
    """Writes the formats and `model.json` into a directory, which is there whole and checked, or not at all.

    Args:
      inference: the network, in the type that is exported.
      selected: its weights.
      class_names: of its outputs.
      directory: is made.
      formats: keys of `FORMATS`.

    Returns:
      The exit status, 0.

    Raises:
      UsageError: as `check_request`; a format that this network cannot have, or an export that does not compute what
        this program does.
    """
    check_request(directory, formats)
    model = _model(inference, selected, class_names)
    for name in formats:
        FORMATS[name].check(model)
    part, cure = directory.with_name(f"{directory.name}.part"), "name another with config.export.dir"
    try:
        with own_directory(part, what=f"the export {directory}", cure=cure):
            check_request(directory, formats)  # again: another process may have made it just now
            sample = _sample(inference, selected)
            checked = {name: _write(name, model, sample, part) for name in formats}
            content = _metadata(model, inference, checked)
            (part / METADATA).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            part.rename(directory)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written ({error.strerror or error}): make room, or {cure}") from error
    logger.info("metadata     %s", directory / METADATA)
    return 0


def _model(inference: Inference, selected: SelectedWeights, class_names: Sequence[str]) -> Model:
    source = {"path": selected.path, "step": selected.step, "weights": selected.kind, "sha256": selected.sha256}
    return Model(
        step=inference.predict_step,
        variables=selected.variables,
        network=inference.network,
        preprocessing=inference.preprocessing,
        class_names=tuple(class_names),
        source=source,
    )


def _sample(inference: Inference, selected: SelectedWeights) -> Sample:
    """Made-up photographs of several sizes through this program's own data path and prediction step."""
    files: list[bytes] = []
    images: list[np.ndarray] = []
    for height, width in _PICTURES:
        size = {"image_height": height, "image_width": width}
        source = open_source("synthetic_jpeg", training=False, num_train=1, num_eval=_EACH, num_classes=_EACH, **size)
        images.append(inference.make_loader(source, _EACH).first_images(_EACH))
        files += [bytes(source[index].image) for index in range(_EACH)]
    stacked = np.concatenate(images)
    return Sample(tuple(files), stacked, outputs_of(inference, selected.variables, stacked))


def outputs_of(inference: Inference, variables: dict[str, Any], images: np.ndarray) -> Outputs:
    """What the prediction step makes of images [N, S, S, 3] uint8, over all devices."""
    count, devices = len(images), inference.mesh.size
    padded = np.concatenate([images, np.zeros((-count % devices, *images.shape[1:]), np.uint8)])
    step = compile_predict_step(inference, len(padded))
    outputs = step(
        put_on_devices(variables, replicated(inference.mesh)), jax.device_put(padded, over_batch(inference.mesh))
    )
    return {name: np.asarray(value)[:count] for name, value in outputs.items()}


def _write(name: str, model: Model, sample: Sample, directory: Path) -> dict[str, Any]:
    """Writes one format, reads it back and compares it; what was found, in JSON values."""
    path = directory / FORMATS[name].file
    FORMATS[name].write(path, model)
    outputs = FORMATS[name].run(path, model, sample)
    found = {signature: compare(out, sample, what=f"{name}, {signature}") for signature, out in outputs.items()}
    largest = max(comparison["largest_difference"] for comparison in found.values())
    logger.info(
        "%-12s %s, %s; %d images: the same first class, probabilities within %.1e",
        *(name, FORMATS[name].file, _size(path), len(sample.files), largest),
    )
    return {"file": FORMATS[name].file, "sha256": _sha256(path), "compared": found}


def _metadata(model: Model, inference: Inference, checked: dict[str, Any]) -> dict[str, Any]:
    side = model.preprocessing.image_size
    return {
        "class_names": list(model.class_names),
        "class_list": fingerprint(model.class_names),
        "source": model.source,
        "input": {"shape": ["batch", side, side, 3], "dtype": "uint8", "channels": "RGB"},
        "outputs": {
            "probabilities": {"shape": ["batch", len(model.class_names)], "dtype": "float32"},
            "classes": {"shape": ["batch"], "dtype": "int32 (saved_model: int64)"},
        },
        "preprocessing": {
            "before": dataclasses.asdict(model.preprocessing),  # what an image file goes through to be the input
            "inside": {key.removeprefix("input."): value for key, value in model.network.items() if "input." in key},
        },
        "network": model.network,
        "dtype": inference.dtype,
        "platforms": list(PLATFORMS),
        "formats": checked,
        "versions": versions(),
    }


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> str:
    """As '97.8 MB'."""
    size = sum(file.stat().st_size for file in _files(path))
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _sha256(path: Path) -> dict[str, str]:
    """Of each file, by its place below the directory of the export."""
    digests = {}
    for file in _files(path):
        with file.open("rb") as opened:
            digests[str(file.relative_to(path.parent))] = hashlib.file_digest(opened, "sha256").hexdigest()
    return digests
