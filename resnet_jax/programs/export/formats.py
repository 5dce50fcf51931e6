"""The export formats: how each is written, read back and run."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.programs.export.hub_folder import HUB, check_in_timm, write_hub_folder
from resnet_jax.programs.export.jax_artifact import run_jax_artifact, write_jax_artifact
from resnet_jax.programs.export.model import Model
from resnet_jax.programs.export.onnx_file import check_onnx, run_onnx, write_onnx
from resnet_jax.programs.export.onnx_int8 import check_int8, measure_int8, write_int8
from resnet_jax.programs.export.r1_saved_model import run_r1_saved_model, write_r1_saved_model
from resnet_jax.programs.export.sample import Outputs, Sample
from resnet_jax.programs.export.saved_model import check_tensorflow, run_saved_model, write_saved_model
from resnet_jax.weights import check_named, match_variables, read_weights, write_safetensors
from resnet_jax.weights.compatibility import IMAGE_SIZE_KEY
from resnet_jax.weights.hub import SAFETENSORS


@dataclasses.dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
      file: name of the file or directory in the export directory.
      check: raises UsageError if the format does not support the network or a package is missing.
      write: writes the network to a path.
      run: reads the export at a path and runs it on a sample; returns signature name -> outputs, which are compared
        with the outputs of this program. Returns {} for an inexact format, such as int8.
      measure: evaluates an export of an inexact format on the data of the run, and returns JSON values; None if the
        format is exact.
    """

    file: str
    check: Callable[[Model], None]
    write: Callable[[Path, Model], None]
    run: Callable[[Path, Model, Sample], dict[str, Outputs]]
    measure: Callable[[Path, Model], dict[str, Any]] | None = None


def _supports_all(model: Model) -> None:
    del model


def _write_jax(path: Path, model: Model) -> None:
    write_jax_artifact(path, model.predict, image_size=model.preprocessing.image_size)


def _run_jax(path: Path, model: Model, sample: Sample) -> dict[str, Outputs]:
    del model
    return {"images": run_jax_artifact(path, sample.images)}


def _write_saved_model(path: Path, model: Model) -> None:
    if model.signatures.name != "own":
        write_r1_saved_model(path, model)
        return
    write_saved_model(path, model.step, model.variables, preprocessing=model.preprocessing)


def _run_saved_model(path: Path, model: Model, sample: Sample) -> dict[str, Outputs]:
    if model.signatures.name != "own":
        return run_r1_saved_model(path, model, sample)
    return {
        "image": run_saved_model(path, images=sample.images),
        "image_bytes": run_saved_model(path, encoded=sample.files),
    }


def _check_torchvision_names(model: Model) -> None:
    check_named(model.network)


def _write_safetensors(path: Path, model: Model) -> None:
    source = {f"source_{key}": json.dumps(value) for key, value in model.source.items()}
    settings = model.network | {IMAGE_SIZE_KEY: model.preprocessing.image_size}
    write_safetensors(path, model.variables, settings=settings, class_names=model.class_names, metadata=source)


def _run_safetensors(path: Path, model: Model, sample: Sample) -> dict[str, Outputs]:
    variables = match_variables(read_weights(path), model.variables, head=True, allow_missing=()).variables
    read, written = by_path(variables), by_path(model.variables)
    changed = [name for name in written if not np.array_equal(read[name], written[name], equal_nan=True)]
    if changed:
        raise UsageError(f"the export (safetensors) does not contain the weights: {changed[0]} differs when read back")
    outputs = jax.jit(model.step)(variables, sample.images)
    return {"weights": {name: np.asarray(value) for name, value in outputs.items()}}


def _write_hub(path: Path, model: Model) -> None:
    write_hub_folder(path, model, write_weights=_write_safetensors)


INT8 = "onnx_int8"
FORMATS = {
    "jax": Format("model.jax", _supports_all, _write_jax, _run_jax),
    "saved_model": Format("saved_model", lambda _: check_tensorflow(), _write_saved_model, _run_saved_model),
    "safetensors": Format("model.safetensors", _check_torchvision_names, _write_safetensors, _run_safetensors),
    "onnx": Format(
        "model.onnx", check_onnx, write_onnx, lambda path, _, sample: {"images": run_onnx(path, sample.images)}
    ),
    INT8: Format("model_int8.onnx", check_int8, write_int8, lambda *_: {}, measure_int8),
    HUB: Format(HUB, check_in_timm, _write_hub, lambda path, *rest: _run_safetensors(path / SAFETENSORS, *rest)),
}
