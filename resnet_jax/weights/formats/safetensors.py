"""Files of named tensors: `.safetensors`, read and written under the names of PyTorch."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from resnet_jax.checksums import by_path
from resnet_jax.class_list import fingerprint
from resnet_jax.errors import UsageError
from resnet_jax.state import Weights
from resnet_jax.weights.naming import Naming, to_torch_layout
from resnet_jax.weights.state_dicts import from_state_dict
from resnet_jax.weights.stored import StoredWeights

_SETTINGS, _CLASS_NAMES = "resnet_jax.settings", "resnet_jax.class_names"  # of the metadata, in JSON
SOURCE_STEP, SOURCE_WEIGHTS = "source_step", "source_weights"  # likewise
_LONGEST_HEADER = 100_000_000  # bytes that the format allows


def begins_one(start: bytes) -> bool:
    """Whether a file begins as one of the format does: with the length of a header in JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER


def read(path: Path, weights: Weights | None) -> StoredWeights:
    """Reads a file, and the settings and classes that `write_safetensors` wrote beside the tensors.

    Raises:
      UsageError: it is damaged, of no known network, or its average is asked for: it says of none.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        settings = json.loads(metadata.get(_SETTINGS, "{}"))
        names = json.loads(metadata.get(_CLASS_NAMES, "null"))
        if not isinstance(settings, dict) or not isinstance(names, list | None):
            raise ValueError("its metadata are not those that this program writes")
        step, kind = (json.loads(metadata.get(key, "null")) for key in (SOURCE_STEP, SOURCE_WEIGHTS))
    except (AttributeError, TypeError) as error:  # a type of tensors that numpy has not
        raise UsageError(f"{path} cannot be read ({error}): convert it to float16 or float32") from error
    except (SafetensorError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({error}): copy or download it again") from error
    if weights == "ema" and kind != "ema":
        raise UsageError(f"{path} does not say that it is an average: leave config.eval.weights unset")
    stored = from_state_dict(tensors, path)
    return dataclasses.replace(
        stored,
        settings=stored.settings | settings,
        step=step,
        weights=kind or stored.weights,
        class_names=None if names is None else tuple(names),
        class_list=None if names is None else fingerprint(names),
    )


def check_named(settings: Mapping[str, Any]) -> None:
    """Raises UsageError for a network of version 2, for which PyTorch has no names."""
    if settings["model.version"] == "v2":
        raise UsageError(
            "config.model.version=v2 has no names in torchvision: leave 'safetensors' out, as "
            "--config.export.formats=\"('jax',)\""
        )


def write_safetensors(
    path: Path,
    variables: Mapping[str, Any],
    *,
    settings: Mapping[str, Any],
    class_names: Sequence[str],
    metadata: Mapping[str, str],
) -> None:
    """Writes weights under torchvision's names, or timm's where torchvision has none, as float32.

    Args:
      path: of the file, which is replaced.
      variables: 'params' and 'batch_stats'.
      settings: that the weights depend on, by dotted config key, in JSON values.
      class_names: of the outputs.
      metadata: to be written besides.

    Raises:
      UsageError: a network of version 2, for which PyTorch has no names.
    """
    check_named(settings)
    arrays = by_path(variables)
    naming = Naming(
        deep_stem="params/stem_conv1/kernel" in arrays,
        pooled_shortcut=settings["model.shortcut"] == "average_pool",
    )
    tensors = {
        naming.to_torch(name): to_torch_layout(np.asarray(array, dtype=np.float32)) for name, array in arrays.items()
    }
    own = {_SETTINGS: json.dumps(dict(settings)), _CLASS_NAMES: json.dumps(list(class_names))}
    # Not `save_file`, whose files nobody else may read.
    path.write_bytes(save(tensors, metadata={"format": "pt", **metadata, **own}))
