"""Reads checkpoints and SavedModels of "r1", the r1.x ResNet of the TensorFlow Models repository; runs no graph."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.checkpoints.files import cause
from resnet_jax.errors import UsageError
from resnet_jax.optional_tensorflow import import_tensorflow
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights.architecture import infer_settings
from resnet_jax.weights.compatibility import IMAGE_SIZE_KEY
from resnet_jax.weights.stored import StoredWeights

_MAGIC = bytes.fromhex("57fb808b247547db")  # last bytes of a TensorFlow checkpoint (version 1) or its index (version 2)
_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_LAYER = re.compile(r"(?:^|.*/)(conv2d|batch_normalization|dense)(?:_(\d+))?/(\w+)")
# Kind of layer in the r1.x ResNet of the TensorFlow Models repository -> variable of the layer -> collection and name
# of this variable in our network.
_VARIABLES = {
    "conv2d": {"kernel": ("params", "kernel")},
    "batch_normalization": {
        "gamma": ("params", "scale"),
        "beta": ("params", "bias"),
        "moving_mean": ("batch_stats", "mean"),
        "moving_variance": ("batch_stats", "var"),
    },
    "dense": {"kernel": ("params", "kernel"), "bias": ("params", "bias")},
}
# Layers of a block, in the order in which the r1.x ResNet of the TensorFlow Models repository creates and numbers them.
_BLOCK_LAYERS = {
    "v1.5": ("shortcut_conv", "shortcut_bn", "conv1", "bn1", "conv2", "bn2", "conv3", "bn3"),
    "v2": ("bn1", "shortcut_conv", "conv1", "bn2", "conv2", "bn3", "conv3"),
}
_IMAGENET_INPUT = {"input.mean": [123.68, 116.78, 103.94], "input.std": [1.0, 1.0, 1.0], "input.per_image": False}
_NUM_CLASSES = 1001  # outputs of ImageNet networks of the r1.x TensorFlow Models repository; class 0 is 'background'
_STEP = "global_step"
_NOT_NEEDED = {_STEP: "a counter", "_CHECKPOINTABLE_OBJECT_GRAPH": "not a variable"}
_LOSS_SCALE = re.compile(r"loss_scale|good_steps")


def find_prefix(path: Path) -> Path | None:
    """Returns the prefix of the checkpoint at a path, such as DIR/model.ckpt-1000; None if there is no checkpoint.

    Args:
      path: a prefix, a file of a checkpoint (PREFIX.index), a directory with a file `checkpoint`, or a SavedModel.

    Raises:
      UsageError: the file `checkpoint` of the directory names a checkpoint that does not exist.
    """
    if path.is_dir():
        if (path / "variables" / "variables.index").exists():
            return path / "variables" / "variables"
        return _newest(path) if (path / "checkpoint").is_file() else None
    stripped = path.with_name(_SUFFIX.sub("", path.name))
    if stripped != path and not path.exists():
        return None
    if stripped != path or _index(path).exists():
        return stripped
    return path if _is_version_1(path) else None


def read(prefix: Path, kind: WeightsKind | None) -> StoredWeights:
    """Reads the variables of a checkpoint of the r1.x ResNet of the TensorFlow Models repository.

    The numbers in the names of its layers, such as 'conv2d_7', give their order.

    Args:
      prefix: prefix of the checkpoint, see `find_prefix`.
      kind: 'trained' or None; such checkpoints have no moving averages.

    Raises:
      UsageError: TensorFlow is not installed, or the checkpoint is damaged or of another network.
    """
    if kind == "ema":
        raise UsageError(
            f"{prefix} has no moving average, since TensorFlow's r1 ResNet keeps none: leave config.eval.weights unset"
        )
    reader, names = _open(prefix)
    layers: dict[tuple[str, int], str] = {}
    found = {name: match for name in names if (match := _LAYER.fullmatch(name)) and match[3] in _VARIABLES[match[1]]}
    values = {name: _get(reader, name, prefix) for name in found}
    for name, match in found.items():
        layers[match[1], int(match[2] or 0)] = name.rpartition("/")[0]
    origin = {}
    for layer_kind, number, path in _our_layers(layers, values, prefix):
        for leaf, (collection, own) in _VARIABLES[layer_kind].items():
            origin[f"{collection}/{path}/{own}"] = f"{layers[layer_kind, number]}/{leaf}"
    arrays = {own: values[name] for own, name in origin.items() if name in values}
    used, others = set(origin.values()), [name for name in names if name not in found]
    skipped = {name: reason for name in others if (reason := _why_not_needed(name, found))}
    settings = _settings(arrays, prefix)
    return StoredWeights(
        path=str(prefix),
        format="TensorFlow r1 checkpoint",
        arrays=arrays,
        origin={own: name for own, name in origin.items() if name in values},
        skipped=skipped,
        unknown=tuple(name for name in names if name not in used and name not in skipped),
        settings=settings,
        kind="trained",
        has_background=settings["model.name"] == "resnet" and len(arrays.get("params/head/bias", ())) == _NUM_CLASSES,
    )


def read_training_state(prefix: Path, stored: StoredWeights) -> tuple[int, dict[str, np.ndarray]]:
    """Reads step and momentum from a checkpoint of the r1.x ResNet of the TensorFlow Models repository.

    Args:
      prefix: prefix of the checkpoint.
      stored: what `read` has returned for this checkpoint.

    Returns:
      The number of steps so far, and the momentum of the parameters by their names in this package, such as
      'params/head/kernel'. Parameters that were not trained with momentum are absent.

    Raises:
      UsageError: the checkpoint is damaged or has no step, as in a SavedModel.
    """
    reader, names = _open(prefix)
    if _STEP not in names:
        raise UsageError(f"{prefix} does not contain the step of a run ({_STEP}): use a checkpoint of the training")
    slots = {own: f"{name}/Momentum" for own, name in stored.origin.items()}
    found = {own: _get(reader, slot, prefix) for own, slot in slots.items() if slot in names}
    return int(_get(reader, _STEP, prefix, np.int64)), found


def _index(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _is_version_1(file: Path) -> bool:
    if not file.is_file():  # reading a named pipe or a device might never end
        return False
    try:
        with file.open("rb") as opened:
            opened.seek(-len(_MAGIC), os.SEEK_END)
            return opened.read() == _MAGIC
    except OSError:  # the file is missing or too short; `load.py` reports a missing file
        return False


def _newest(directory: Path) -> Path:
    """Returns the prefix that the file `checkpoint` in `directory` names.

    If that prefix is an absolute path, the same name in `directory` is tried first: the directory may have been moved.
    """
    text = (directory / "checkpoint").read_text(errors="replace")
    match = re.search(r'^model_checkpoint_path: "(.+)"$', text, re.MULTILINE)
    name = match[1] if match else ""
    for prefix in (directory / Path(name).name, directory / name):
        if name and (_index(prefix).exists() or prefix.is_file()):
            return prefix
    raise UsageError(
        f"{directory / 'checkpoint'} names the checkpoint {name!r}, which does not exist: give the path of another "
        "checkpoint, such as DIR/model.ckpt-1000, instead of the directory"
    )


def _open(prefix: Path) -> tuple[Any, list[str]]:
    """Returns TensorFlow's reader of a checkpoint, and the names of its variables."""
    try:
        tf = import_tensorflow()
    except ImportError:
        raise UsageError(
            f"{prefix} is a checkpoint of TensorFlow, which is not installed: pip install -e '.[tensorflow]'"
        ) from None
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return reader, sorted(reader.get_variable_to_shape_map())
    except Exception as error:  # a damaged file makes TensorFlow raise many types of errors
        raise _damaged(prefix, error) from error


def _get(reader: Any, name: str, prefix: Path, dtype: type = np.float32) -> np.ndarray:
    try:
        return np.asarray(reader.get_tensor(name), dtype=dtype)
    except Exception as error:
        raise _damaged(prefix, error) from error


def _damaged(prefix: Path, error: Exception) -> UsageError:
    return UsageError(f"TensorFlow's checkpoint {prefix} is damaged ({cause(error)}): copy all its files again")


def _our_layers(
    layers: Mapping[tuple[str, int], str], values: Mapping[str, np.ndarray], prefix: Path
) -> Iterator[tuple[str, int, str]]:
    """Yields (kind, number in TensorFlow, path in this package) for each layer of a checkpoint.

    Example: ('conv2d', 2, 'stage1_block1/conv1') for TensorFlow's layer 'conv2d_2'.

    Raises:
      UsageError: the layers are not those of the r1.x ResNet of the TensorFlow Models repository.
    """
    count = {kind: sum(layer_kind == kind for layer_kind, _ in layers) for kind in _VARIABLES}
    kernels = [values.get(f"{layers.get(('conv2d', number))}/kernel") for number in range(count["conv2d"])]
    shapes = [kernel.shape for kernel in kernels if kernel is not None]
    paths = _paths(shapes, _version(count)) if shapes and len(shapes) == len(kernels) else []
    next_number = dict.fromkeys(_VARIABLES, 0)
    ours = []
    for path in paths:
        kind = "dense" if path == "head" else "batch_normalization" if "bn" in path else "conv2d"
        ours.append((kind, next_number[kind], path))
        next_number[kind] += 1
    if next_number != count or not {(kind, number) for kind, number, _ in ours} <= layers.keys():
        found = ", ".join(f"{number} {kind}" for kind, number in count.items())
        raise UsageError(
            f"{prefix} does not have the layers of TensorFlow's r1 ResNet ({found}): use a checkpoint of that network"
        )
    yield from ours


def _version(count: Mapping[str, int]) -> str:
    """Returns 'v1.5' or 'v2' from the number of layers of each kind: in 'v1.5' each convolution has a batch norm."""
    return "v1.5" if count["batch_normalization"] == count["conv2d"] else "v2"


def _paths(kernels: list[tuple[int, ...]], version: str) -> list[str]:
    """Returns the path in this package of each layer, in the order in which TensorFlow created and numbered the layers.

    Args:
      kernels: shapes [H, W, C, F] of the kernels of the convolutions, in that order.
      version: 'v1.5' or 'v2'.
    """
    _, *rest = kernels
    basic = len(rest) > 1 and rest[1][0] == 3  # rest[0] is the first shortcut, rest[1] the first block's conv1
    convolutions = 2 if basic else 3
    paths = ["stem_conv"] if version == "v2" else ["stem_conv", "stem_bn"]
    stage, block = 0, 0
    while rest:
        # The first block of a stage starts with its 1x1 shortcut; a bottleneck branch then starts with another 1x1.
        projects = rest[0][0] == 1 and (basic or (len(rest) > 1 and rest[1][0] == 1))
        stage, block = (stage + 1, 1) if projects else (stage, block + 1)
        names = [name for name in _BLOCK_LAYERS[version] if projects or not name.startswith("shortcut")]
        names = [name for name in names if not (basic and name.endswith("3"))]
        paths += [f"stage{stage}_block{block}/{name}" for name in names]
        rest = rest[convolutions + projects :]
    return [*paths, *(["final_bn"] if version == "v2" else []), "head"]


def _settings(arrays: Mapping[str, np.ndarray], prefix: Path) -> dict[str, Any]:
    network = infer_settings(arrays, path=str(prefix)) | {
        "model.version": "v2" if "params/final_bn/scale" in arrays else "v1.5",
        "model.padding": "tf",
        "model.shortcut": "stage_projection",
        "model.blur_pool": False,
        "model.bn_epsilon": 1e-5,
    }
    if network["model.name"] == "resnet_cifar":
        return network | {"input.per_image": True, IMAGE_SIZE_KEY: 32}
    return network | _IMAGENET_INPUT | {IMAGE_SIZE_KEY: 224}


def _why_not_needed(name: str, variables: Mapping[str, Any]) -> str | None:
    """Returns the reason why a variable that belongs to no layer is not needed; None if its purpose is unknown."""
    if name.rpartition("/")[0] in variables:
        return "a variable of the optimizer"
    return _NOT_NEEDED.get(name) or ("a variable of the loss scale" if _LOSS_SCALE.search(name) else None)
