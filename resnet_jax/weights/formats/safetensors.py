"""Reads and writes `.safetensors` files, PyTorch state dicts with the array names of torchvision and timm."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from resnet_jax.data.class_names import fingerprint
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path, has_shape
from resnet_jax.text import some_of
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights.architecture import infer_settings
from resnet_jax.weights.compatibility import IMAGE_SIZE_KEY
from resnet_jax.weights.formats.timm_config import read_timm_config
from resnet_jax.weights.known_networks import pytorch_network
from resnet_jax.weights.naming import Naming, to_our_layout, to_torch_layout
from resnet_jax.weights.stored import HEAD, StoredWeights

# Keys in the metadata of the .safetensors files that this program writes; the values are JSON.
_SETTINGS, _CLASS_NAMES, _SAME_AS = "resnet_jax.settings", "resnet_jax.class_names", "resnet_jax.same_as"
SOURCE_STEP, SOURCE_WEIGHTS = "source_step", "source_weights"
_METADATA_SHAPES = (dict, ([str], None), (int, None), (str, None))  # types of settings, class names, step, weights kind
_LONGEST_HEADER = 100_000_000  # largest size of the JSON header in bytes that the format allows

_COUNTERS = re.compile(r"(^|\.)(num_batches_tracked|n_averaged)$")
# Finds where the name of a module begins in the name of an array; the part before it is a prefix such as 'module.'.
_FIRST_MODULE = re.compile(r"(?:^|(?<=\.))(?:conv1|bn1|fc|layer\d+)\.")
_TORCHVISION_SIZE = 224  # pixels; the evaluation size of all ResNets of torchvision
# Settings that all ResNets of torchvision, and all timm networks that this program can read, have in common.
_NETWORK = {"model.version": "v1.5", "model.blur_pool": False, "model.bn_epsilon": 1e-5}


def is_safetensors(start: bytes) -> bool:
    """Returns whether a file that begins with the bytes `start` is in safetensors format: header length, then JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER


def read(path: Path, kind: WeightsKind | None) -> StoredWeights:
    """Reads a `.safetensors` file, and the settings and class names that `write_safetensors` stores in its metadata.

    Args:
      path: the file.
      kind: 'ema' accepts only a file that this program wrote from a moving average; other values accept any file.

    Raises:
      UsageError: the file is damaged or of no known network, or `kind` is 'ema' and the metadata do not say 'ema'.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        settings = json.loads(metadata.get(_SETTINGS, "{}"))
        names = json.loads(metadata.get(_CLASS_NAMES, "null"))
        step, stored_kind = (json.loads(metadata.get(key, "null")) for key in (SOURCE_STEP, SOURCE_WEIGHTS))
        if not all(map(has_shape, (settings, names, step, stored_kind), _METADATA_SHAPES)):
            raise ValueError("its metadata were not written by this program")
    except (AttributeError, TypeError) as error:  # an array has a dtype that numpy lacks
        raise UsageError(f"{path} cannot be read ({error}): convert it to float16 or float32") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged ({error}): copy or download it again") from error
    except MemoryError as error:
        raise UsageError(f"{path} does not fit into the memory: use a machine with more memory") from error
    if kind == "ema" and stored_kind != "ema":
        raise UsageError(f"{path} is not known to be a moving average: leave config.eval.weights unset")
    stored = from_state_dict(tensors, path)
    known = stored.settings | settings
    return dataclasses.replace(
        stored,
        format=stored.format.replace(describe_format(stored.settings), describe_format(known)),
        settings=known,
        step=step,
        kind=stored_kind or stored.kind,
        **({} if names is None else _class_names(names)),
    )


def _class_names(names: Sequence[str]) -> dict[str, Any]:
    """Returns the fields `class_names` and `class_list` of `StoredWeights`."""
    return {"class_names": tuple(names), "class_list": fingerprint(names)}


def from_state_dict(tensors: Mapping[str, np.ndarray], path: Path, *, found_in: str = "") -> StoredWeights:
    """Translates a PyTorch state dict to the names and array layouts of this package.

    Args:
      tensors: PyTorch name, such as 'layer1.0.conv1.weight' -> array in PyTorch's layout.
      path: the file of the weights; timm's `config.json` is read if it is in the same directory.
      found_in: where in the file the state dict is, for example ", in 'model_ema'"; appended to the format in logs.

    Raises:
      UsageError: the network is not supported, or `config.json` is damaged.
    """
    prefix = _prefix(tensors, path)
    inside = {name: name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
    naming = Naming.of_torch(inside.values())
    skipped = {name: "a counter" for name in tensors if _COUNTERS.search(name)}
    others = tensors.keys() - inside.keys() - skipped.keys()
    skipped |= dict.fromkeys(sorted(others), f"its name does not begin with {prefix!r}")
    names = {name: naming.to_ours(inside[name]) for name in tensors if name not in skipped}
    known = {name: own for name, own in names.items() if own is not None}
    if not known:
        raise UsageError(
            f"{path} holds no array with a name of a ResNet of torchvision, such as 'layer1.0.conv1.weight', but "
            f"{some_of(sorted(map(repr, tensors))) or 'none at all'}: save only the state_dict of such a network"
        )
    for name in known:
        if not jnp.issubdtype(tensors[name].dtype, np.floating):
            raise UsageError(
                f"{path} holds {tensors[name].dtype} numbers ({name!r}), as quantized networks do: save it as float32"
            )
    arrays = {own: to_our_layout(tensors[name].astype(np.float32, copy=False)) for name, own in known.items()}
    settings, class_names = _described(arrays, path, pooled_shortcut=naming.pooled_shortcut)
    return StoredWeights(
        path=str(path),
        format=describe_format(settings) + found_in + (f", names after {prefix!r}" if prefix else ""),
        arrays=arrays,
        origin={own: name for name, own in known.items()},
        skipped=skipped,
        unknown=tuple(name for name, own in names.items() if own is None),
        settings=settings,
        **class_names,
    )


def _described(
    arrays: Mapping[str, np.ndarray], path: Path, *, pooled_shortcut: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the settings of a network, from its arrays and timm's `config.json`, and its class names, if known."""
    settings = _NETWORK | infer_settings(arrays, path=str(path))
    class_names: dict[str, Any] = {}
    if settings["model.name"] == "resnet":
        described = read_timm_config(path)
        settings |= {"model.padding": "torch"} | described.settings
        if described.label_names and len(described.label_names) == len(arrays.get(f"{HEAD}bias", ())):
            class_names = _class_names(described.label_names)
    if pooled_shortcut:
        settings["model.shortcut"] = "average_pool"
    # If no image size is known, torchvision's is assumed. Most weights of timm have the same evaluation size.
    if str(pytorch_network(settings)).startswith("torchvision"):
        settings.setdefault(IMAGE_SIZE_KEY, _TORCHVISION_SIZE)
    return settings, class_names


def describe_format(settings: Mapping[str, Any]) -> str:
    """Returns the format of a PyTorch file for logs, with the network that its weights belong to, if that is known."""
    return f"PyTorch ({pytorch_network(settings) or 'no network of torchvision or timm'})"


def _prefix(names: Iterable[str], path: Path) -> str:
    """Returns the prefix of the array names of the network, such as 'module.' or 'backbone.'; '' if there is none.

    Such prefixes are added when a network is wrapped in another module. Arrays without the prefix belong to other parts
    of the larger model. Of the two encoders of MoCo, the network is the query encoder (He et al. 2020,
    github.com/facebookresearch/moco).

    Raises:
      UsageError: several prefixes each belong to a ResNet.
    """
    found: dict[str, set[str]] = {}
    for name in names:
        match = None if _COUNTERS.search(name) else _FIRST_MODULE.search(name)
        if match:
            found.setdefault(name[: match.start()], set()).add(match[0])
    networks = {prefix for prefix, modules in found.items() if {"conv1.", "layer1."} <= modules}
    networks -= {prefix.removesuffix("q.") + "k." for prefix in networks if prefix.endswith("encoder_q.")}
    if len(networks) > 1:
        raise UsageError(
            f"{path} holds several networks, whose names begin with {some_of(sorted(map(repr, networks)))}: save the "
            "arrays of one of them alone"
        )
    return next(iter(networks), "")


def check_named(settings: Mapping[str, Any]) -> None:
    """Raises UsageError for a network of version 2: torchvision and timm have no names for its arrays."""
    if settings["model.version"] == "v2":
        raise UsageError(
            "torchvision has no names for the arrays of config.model.version=v2: export without 'safetensors', with "
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
    """Writes weights as float32 under torchvision's names, or timm's where torchvision has none.

    The metadata contain the name of the network in torchvision or timm (see `known_networks.py`), or null if neither
    has it.

    Args:
      path: the file, which is overwritten.
      variables: 'params' and 'batch_stats'.
      settings: settings of the network, JSON values of all `NETWORK_KEYS`; stored in the metadata.
      class_names: name of the class of each output, stored in the metadata.
      metadata: further metadata of the file, key -> JSON.

    Raises:
      UsageError: raised by `check_named`.
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
    own[_SAME_AS] = json.dumps(pytorch_network(settings))
    # Not `save_file` of the safetensors library: it writes a file that only its owner can read.
    path.write_bytes(save(tensors, metadata={"format": "pt", **metadata, **own}))
