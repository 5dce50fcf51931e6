"""Files of named tensors: `.safetensors`, read and written under the names of PyTorch."""

import dataclasses
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from resnet_jax.data.class_names import fingerprint
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights.architecture import infer_settings
from resnet_jax.weights.naming import Naming, to_our_layout, to_torch_layout
from resnet_jax.weights.stored import StoredWeights

_SETTINGS, _CLASS_NAMES = "resnet_jax.settings", "resnet_jax.class_names"  # of the metadata, in JSON
SOURCE_STEP, SOURCE_WEIGHTS = "source_step", "source_weights"  # likewise
_LONGEST_HEADER = 100_000_000  # bytes that the format allows


def begins_one(start: bytes) -> bool:
    """Whether a file begins as one of the format does: with the length of a header in JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER


def read(path: Path, kind: WeightsKind | None) -> StoredWeights:
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
        step, stored_kind = (json.loads(metadata.get(key, "null")) for key in (SOURCE_STEP, SOURCE_WEIGHTS))
    except (AttributeError, TypeError) as error:  # a type of tensors that numpy has not
        raise UsageError(f"{path} cannot be read ({error}): convert it to float16 or float32") from error
    except (SafetensorError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({error}): copy or download it again") from error
    if kind == "ema" and stored_kind != "ema":
        raise UsageError(f"{path} does not say that it is an average: leave config.eval.weights unset")
    stored = from_state_dict(tensors, path)
    return dataclasses.replace(
        stored,
        settings=stored.settings | settings,
        step=step,
        kind=stored_kind or stored.kind,
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


FORMAT = "PyTorch (torchvision or timm names)"
_COUNTERS = re.compile(r"(^|\.)(num_batches_tracked|n_averaged)$")
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and averages, of torch.compile
# What torchvision's and timm's networks are given, unless a file says otherwise: 0.485 * 255, and so on.
_INPUT = {
    "input.mean": [123.675, 116.28, 103.53],
    "input.std": [58.395, 57.12, 57.375],
    "input.per_image": False,
}
_NETWORK = {"model.version": "v1.5", "model.blur_pool": False, "model.bn_epsilon": 1e-5}


def from_state_dict(tensors: Mapping[str, np.ndarray], path: Path, *, found_in: str = "") -> StoredWeights:
    """Takes what is understood of a state dict, and says what it is.

    Args:
      tensors: by the names of PyTorch, in its layout.
      path: of the file; a `config.json` of timm beside it is read.
      found_in: for the log, as ", in 'model_ema'".

    Raises:
      UsageError: it is of no network of this program, or `config.json` is damaged.
    """
    prefix = _common_prefix(tensors)
    naming = Naming.of_torch([name.removeprefix(prefix) for name in tensors])
    skipped = {name: "a counter" for name in tensors if _COUNTERS.search(name)}
    names = {name: naming.to_ours(name.removeprefix(prefix)) for name in tensors if name not in skipped}
    understood = {name: own for name, own in names.items() if own is not None}
    arrays = {own: to_our_layout(tensors[name].astype(np.float32, copy=False)) for name, own in understood.items()}
    settings = _NETWORK | infer_settings(arrays, path=str(path))
    if settings["model.name"] == "resnet":
        settings |= {"model.padding": "torch"} | _input_of(path)
    if naming.pooled_shortcut:
        settings["model.shortcut"] = "average_pool"
    return StoredWeights(
        path=str(path),
        format=FORMAT + found_in + (f", names after {prefix!r}" if prefix else ""),
        arrays=arrays,
        origin={own: name for name, own in understood.items()},
        skipped=skipped,
        unknown=tuple(name for name, own in names.items() if own is None),
        settings=settings,
    )


def _common_prefix(names: Collection[str]) -> str:
    """What wrappers of networks put before every name."""
    prefix, weights = "", [name for name in names if not _COUNTERS.search(name)]
    while longer := next((prefix + p for p in _PREFIXES if all(n.startswith(prefix + p) for n in weights)), None):
        if not weights:
            break
        prefix = longer
    return prefix


def _input_of(path: Path) -> dict[str, Any]:
    """The normalisation that `config.json` of timm names, in 0..1, or the usual one."""
    beside = path.with_name("config.json")
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _INPUT
    except ValueError as error:
        raise UsageError(f"{beside}, beside the weights, is damaged ({error}): mend it or move the weights") from None
    inner = content.get("pretrained_cfg") if isinstance(content, dict) else None
    there = (content if isinstance(content, dict) else {}) | (inner if isinstance(inner, dict) else {})
    architecture = str(there.get("architecture", ""))
    if re.search(r"blur|aa\d", architecture):
        raise UsageError(f"{path} is {architecture}, whose blurred pooling is not imported: take its sibling without")
    try:
        given = {f"input.{key}": [255.0 * v for v in there[key]] for key in ("mean", "std") if there.get(key)}
    except TypeError:
        raise UsageError(f"{beside}, beside the weights, is damaged: mend its mean and std, or move it away") from None
    return _INPUT | given
