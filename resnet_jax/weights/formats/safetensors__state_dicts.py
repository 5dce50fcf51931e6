"""Tensors under the names of PyTorch, as weights of ours."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.weights.architecture import infer_settings
from resnet_jax.weights.naming import Naming, to_our_layout
from resnet_jax.weights.stored import StoredWeights

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
