"""The formats of exports: how each is written, read back and called."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.programs.export.jax_artifact import run_jax_artifact, write_jax_artifact
from resnet_jax.programs.export.model import Model, Outputs, Sample
from resnet_jax.programs.export.saved_model import check_tensorflow, run_saved_model, write_saved_model
from resnet_jax.weights import check_named, match_variables, read_weights, write_safetensors


@dataclasses.dataclass(frozen=True)
class Format:
    """One of them.

    Attributes:
      file: its name in the directory of the export.
      check: raises UsageError where a network cannot have it.
      write: to a path.
      run: reads it back, and gives what each of its signatures makes of a sample.
    """

    file: str
    check: Callable[[Model], None]
    write: Callable[[Path, Model], None]
    run: Callable[[Path, Model, Sample], dict[str, Outputs]]


def _any(model: Model) -> None:
    del model


def _write_jax(path: Path, model: Model) -> None:
    write_jax_artifact(path, model.predict, image_size=model.preprocessing.image_size)


def _run_jax(path: Path, model: Model, sample: Sample) -> dict[str, Outputs]:
    del model
    return {"images": run_jax_artifact(path, sample.images)}


def _write_saved_model(path: Path, model: Model) -> None:
    write_saved_model(path, model.step, model.variables, preprocessing=model.preprocessing)


def _run_saved_model(path: Path, model: Model, sample: Sample) -> dict[str, Outputs]:
    del model
    return {
        "image": run_saved_model(path, images=sample.images),
        "image_bytes": run_saved_model(path, encoded=sample.files),
    }


def _has_names(model: Model) -> None:
    check_named(model.network)


def _write_safetensors(path: Path, model: Model) -> None:
    source = {f"source_{key}": json.dumps(value) for key, value in model.source.items()}
    write_safetensors(path, model.variables, settings=model.network, class_names=model.class_names, metadata=source)


def _run_safetensors(path: Path, model: Model, sample: Sample) -> dict[str, Outputs]:
    variables = match_variables(read_weights(path), model.variables, head=True, allow_missing=()).variables
    read, written = by_path(variables), by_path(model.variables)
    changed = [name for name in written if not np.array_equal(read[name], written[name], equal_nan=True)]
    if changed:
        raise UsageError(f"the export (safetensors) does not hold the weights: {changed[0]} is another when read back")
    outputs = jax.jit(model.step)(variables, sample.images)
    return {"weights": {name: np.asarray(value) for name, value in outputs.items()}}


FORMATS = {
    "jax": Format("model.jax", _any, _write_jax, _run_jax),
    "saved_model": Format("saved_model", lambda _: check_tensorflow(), _write_saved_model, _run_saved_model),
    "safetensors": Format("model.safetensors", _has_names, _write_safetensors, _run_safetensors),
}
