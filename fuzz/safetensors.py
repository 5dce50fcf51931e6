"""Target 'safetensors': a file of weights is read and fits a network, or it is one UsageError."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy
from safetensors.numpy import save

from fuzz.target import Target, check_message, damaged, silent
from resnet_jax.errors import UsageError
from resnet_jax.weights import match_variables, read_weights

_PREFIXES = ["", "module.", "backbone.", "module.encoder_q.", "module.encoder_k.", "fc.", "layer1."]
_LEAVES = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def inputs() -> SearchStrategy[bytes]:
    """Returns a strategy for damaged files, odd metadata, and files of any names and shapes."""
    module = strategies.one_of(strategies.sampled_from(_modules()), strategies.text(max_size=12))
    name = strategies.builds(_name, strategies.sampled_from(_PREFIXES), module, strategies.sampled_from(_LEAVES))
    shape = strategies.lists(strategies.integers(0, 5), max_size=5).map(tuple)
    kind = strategies.sampled_from([np.float32, np.float16, np.int8, np.bool_, np.float64])
    array = strategies.builds(np.ones, shape, kind)
    values = strategies.recursive(
        strategies.none() | strategies.integers() | strategies.floats() | strategies.text(max_size=5),
        lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(max_size=5), inner),
        max_leaves=4,
    )
    keys = strategies.sampled_from(
        ["resnet_jax.settings", "resnet_jax.class_names", "source_step", "source_weights", "format"]
    )
    metadata = strategies.dictionaries(keys, values.map(json.dumps) | strategies.text(max_size=8), max_size=4)
    other = strategies.dictionaries(name, array, max_size=4)
    made = strategies.builds(_file, strategies.sampled_from(_PREFIXES), other, metadata)
    return strategies.one_of(made, damaged([_file("", {}, {}), _file("module.", {}, {"source_step": "3"})]))


def check(data: bytes) -> None:
    """Reads a file and matches it with the network of the undamaged one."""
    with tempfile.TemporaryDirectory() as directory, silent():
        path = Path(directory) / "weights.safetensors"
        path.write_bytes(data)
        try:
            stored = read_weights(path)
            assert all(array.dtype == np.float32 for array in stored.arrays.values())
            matched = match_variables(stored, _variables(), head=True, allow_missing=())
        except UsageError as error:
            check_message(error)
        else:
            assert matched.variables["params"]["stem_conv"]["kernel"].shape == (3, 3, 3, 4)


def _modules() -> list[str]:
    blocks = [f"layer{stage}.0" for stage in (1, 2, 3)]
    return [
        *(f"{block}.{layer}" for block in blocks for layer in ("conv1", "bn1", "conv2", "bn2")),
        "conv1",
        "bn1",
        "fc",
    ]


def _name(prefix: str, module: str, leaf: str) -> str:
    return f"{prefix}{module}.{leaf}"


def _state_dict() -> dict[str, np.ndarray]:
    """Returns the weights of a ResNet-8 of the 32-pixel family with 4 features and 5 classes."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (4, 3, 3, 3), "fc.weight": (5, 16), "fc.bias": (5,)}
    width_before = 4
    for stage, width in ((1, 4), (2, 8), (3, 16)):
        shapes[f"layer{stage}.0.conv1.weight"] = (width, width_before, 3, 3)
        shapes[f"layer{stage}.0.conv2.weight"] = (width, width, 3, 3)
        width_before = width
    norms = {"bn1": 4} | {f"layer{s}.0.bn{k}": w for s, w in ((1, 4), (2, 8), (3, 16)) for k in (1, 2)}
    leaves = ("weight", "bias", "running_mean", "running_var")
    shapes |= {f"{norm}.{leaf}": (width,) for norm, width in norms.items() for leaf in leaves}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def _variables() -> dict[str, Any]:
    """Returns the same weights under the names of this package."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "w.safetensors"
        path.write_bytes(save(_state_dict()))
        arrays = read_weights(path).arrays
    variables: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, leaf = name.split("/")
        inner = variables
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[leaf] = array
    return variables


def _file(prefix: str, others: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """Returns a file with the weights behind a prefix; `others` are added, or take the place of arrays of that name."""
    return save({prefix + name: array for name, array in _state_dict().items()} | others, metadata=metadata or None)


TARGET = Target(inputs, check)
