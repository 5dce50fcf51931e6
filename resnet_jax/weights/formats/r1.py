"""Checkpoints and SavedModels of TensorFlow's official r1 ResNet; no graph is made and none is run."""

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
from resnet_jax.weights.stored import StoredWeights

_TABLE = bytes.fromhex("57fb808b247547db")  # the end of a checkpoint of version 1, and of an index of version 2
_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_LAYER = re.compile(r"(?:^|.*/)(conv2d|batch_normalization|dense)(?:_(\d+))?/(\w+)")
# Of a layer of r1: name of a variable -> collection and name here.
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
# The layers of a block in the order in which r1 makes them, which is that of their numbers.
_PARTS = {
    "v1.5": ("shortcut_conv", "shortcut_bn", "conv1", "bn1", "conv2", "bn2", "conv3", "bn3"),
    "v2": ("bn1", "shortcut_conv", "conv1", "bn2", "conv2", "bn3", "conv3"),
}
_IMAGENET_INPUT = {"input.mean": [123.68, 116.78, 103.94], "input.std": [1.0, 1.0, 1.0], "input.per_image": False}
_CLASSES = 1001  # of ImageNet at r1, the first of them 'background'
_USELESS = {"global_step": "a counter", "_CHECKPOINTABLE_OBJECT_GRAPH": "no variable"}
_LOSS_SCALE = re.compile(r"loss_scale|good_steps")


def find_prefix(place: Path) -> Path | None:
    """What TensorFlow calls the checkpoint that a path names; None: it names none.

    Args:
      place: a prefix, one of its files, a directory with a file `checkpoint`, or one of a SavedModel.

    Raises:
      UsageError: the newest checkpoint of the directory is not there.
    """
    if place.is_dir():
        if (place / "variables" / "variables.index").exists():
            return place / "variables" / "variables"
        return _newest(place) if (place / "checkpoint").is_file() else None
    stripped = place.with_name(_SUFFIX.sub("", place.name))
    if stripped != place and not place.exists():
        return None
    if stripped != place or _index(place).exists():
        return stripped
    return place if _is_table(place) else None


def read(prefix: Path, kind: WeightsKind | None) -> StoredWeights:
    """Reads the variables of a network by the order of its layers.

    Args:
      prefix: of `find_prefix`.
      kind: 'trained' or None; r1 has no averages.

    Raises:
      UsageError: TensorFlow is not installed, the checkpoint is damaged, or not one of r1.
    """
    if kind == "ema":
        raise UsageError(f"{prefix} has no average, as r1 makes none: leave config.eval.weights unset")
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
    skipped = {name: why for name in others if (why := _use_of(name, found))}
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
        has_background=settings["model.name"] == "resnet" and len(arrays.get("params/head/bias", ())) == _CLASSES,
    )


def _index(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _is_table(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            opened.seek(-len(_TABLE), os.SEEK_END)
            return opened.read() == _TABLE
    except OSError:  # not there, or too short: said where the other formats are tried
        return False


def _newest(directory: Path) -> Path:
    """The checkpoint that the file `checkpoint` names; beside it, if the directory was moved."""
    text = (directory / "checkpoint").read_text(errors="replace")
    match = re.search(r'^model_checkpoint_path: "(.+)"$', text, re.MULTILINE)
    name = match[1] if match else ""
    for prefix in (directory / Path(name).name, directory / name):
        if name and (_index(prefix).exists() or prefix.is_file()):
            return prefix
    raise UsageError(f"{directory / 'checkpoint'} names the checkpoint {name!r}, which is not there: name one that is")


def _open(prefix: Path) -> tuple[Any, list[str]]:
    """TensorFlow's reader, and the names of what it can read."""
    try:
        tf = import_tensorflow()
    except ImportError:
        raise UsageError(
            f"{prefix} is a checkpoint of TensorFlow, which is not installed: pip install -e '.[tensorboard]'"
        ) from None
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return reader, sorted(reader.get_variable_to_shape_map())
    except Exception as error:  # of many types
        raise _damaged(prefix, error) from error


def _get(reader: Any, name: str, prefix: Path) -> np.ndarray:
    try:
        return np.asarray(reader.get_tensor(name), dtype=np.float32)
    except Exception as error:
        raise _damaged(prefix, error) from error


def _damaged(prefix: Path, error: Exception) -> UsageError:
    return UsageError(f"TensorFlow's checkpoint {prefix} is damaged ({cause(error)}): copy it again, all its files")


def _our_layers(
    layers: Mapping[tuple[str, int], str], values: Mapping[str, np.ndarray], prefix: Path
) -> Iterator[tuple[str, int, str]]:
    """Kind and number of each layer at r1, and its path here.

    Raises:
      UsageError: there are not the layers that one of r1's networks has.
    """
    count = {kind: sum(there == kind for there, _ in layers) for kind in _VARIABLES}
    kernels = [values.get(f"{layers.get(('conv2d', number))}/kernel") for number in range(count["conv2d"])]
    shapes = [kernel.shape for kernel in kernels if kernel is not None]
    paths = _paths(shapes, _version(count)) if shapes and len(shapes) == len(kernels) else []
    made = dict.fromkeys(_VARIABLES, 0)
    ours = []
    for path in paths:
        kind = "dense" if path == "head" else "batch_normalization" if "bn" in path else "conv2d"
        ours.append((kind, made[kind], path))
        made[kind] += 1
    if made != count or not {(kind, number) for kind, number, _ in ours} <= layers.keys():
        there = ", ".join(f"{number} {kind}" for kind, number in count.items())
        raise UsageError(f"{prefix} has not the layers of a ResNet of r1 ({there}): name a checkpoint of one")
    yield from ours


def _version(count: Mapping[str, int]) -> str:
    """In version 1 a batch norm follows each convolution; in version 2, none those of shortcuts."""
    return "v1.5" if count["batch_normalization"] == count["conv2d"] else "v2"


def _paths(kernels: list[tuple[int, ...]], version: str) -> list[str]:
    """Our paths of all layers, in the order of r1, from the shapes of its convolutions [H, W, C, F] in theirs."""
    _, *rest = kernels
    basic = len(rest) > 1 and rest[1][0] == 3  # after the first shortcut
    size = 2 if basic else 3
    paths = ["stem_conv"] if version == "v2" else ["stem_conv", "stem_bn"]
    stage, block = 0, 0
    while rest:
        # The first block of a stage has a shortcut: a 1x1 convolution, then the first of the branch.
        projects = rest[0][0] == 1 and (basic or (len(rest) > 1 and rest[1][0] == 1))
        stage, block = (stage + 1, 1) if projects else (stage, block + 1)
        parts = [part for part in _PARTS[version] if not (part.startswith("shortcut") and not projects)]
        parts = [part for part in parts if not (basic and part.endswith("3"))]
        paths += [f"stage{stage}_block{block}/{part}" for part in parts]
        rest = rest[size + projects :]
    return [*paths, *(["final_bn"] if version == "v2" else []), "head"]


def _settings(arrays: Mapping[str, np.ndarray], prefix: Path) -> dict[str, Any]:
    network = infer_settings(arrays, path=str(prefix)) | {
        "model.version": "v2" if "params/final_bn/scale" in arrays else "v1.5",
        "model.padding": "tf",
        "model.shortcut": "stage_projection",
        "model.blur_pool": False,
        "model.bn_epsilon": 1e-5,
    }
    return network | ({"input.per_image": True} if network["model.name"] == "resnet_cifar" else _IMAGENET_INPUT)


def _use_of(name: str, variables: Mapping[str, Any]) -> str | None:
    """Why a variable that is none of a layer is of no use; None: it is not known."""
    if name.rpartition("/")[0] in variables:
        return "of the optimizer"
    return _USELESS.get(name) or ("of the loss scale" if _LOSS_SCALE.search(name) else None)
