"""Compares the settings that weights were trained with to the settings of a config or a model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_jax.errors import UsageError
from resnet_jax.models.resnet import ResNet
from resnet_jax.models.variants import CIFAR_STEM, IMAGENET_STAGES
from resnet_jax.weights.stored import StoredWeights

# Config keys that determine the function that a network computes: architecture and input normalization.
NETWORK_KEYS = (
    *("model.name", "model.version", "model.depth", "model.features", "model.padding", "model.stem"),
    *("model.shortcut", "model.blur_pool", "model.squeeze_excitation", "model.bn_epsilon"),
    *("input.mean", "input.std", "input.per_image"),
)
# Keys whose value may differ from the one in training: the weights still work, but with lower accuracy.
_INPUT_KEYS = ("model.padding", "input.mean", "input.std", "input.per_image")

# Key of the size of the training images in pixels. Weights also work at other sizes; files of weights contain the size
# only as a recommendation.
IMAGE_SIZE_KEY = "data.image_size"

# Input normalization of torchvision's and most of timm's networks, in pixel values: 0.485 * 255 and so on.
IMAGENET_INPUT = {
    "input.mean": [123.675, 116.28, 103.53],
    "input.std": [58.395, 57.12, 57.375],
    "input.per_image": False,
}


def check_settings(stored: StoredWeights, settings: Mapping[str, Any], *, any_input: bool = False) -> None:
    """Checks that the settings are those that the weights were trained with, as far as the file contains settings.

    Args:
      stored: the weights, with the settings that they were trained with.
      settings: config key -> value, for all `NETWORK_KEYS`, and perhaps `IMAGE_SIZE_KEY`.
      any_input: accept weights that were trained with another padding or input normalization.

    Raises:
      UsageError: a setting differs; the message lists the flags to set, with the image size if that differs too.
    """
    ignored = _INPUT_KEYS if any_input else ()
    differing = [key for key in differing_settings(stored, settings) if key not in ignored]
    if differing:
        sizes = [values[IMAGE_SIZE_KEY] for values in (stored.settings, settings) if values.get(IMAGE_SIZE_KEY)]
        differing += [IMAGE_SIZE_KEY] if len(set(sizes)) > 1 else []
        flags = [_flag(key, stored.settings[key]) for key in differing]
        raise UsageError(
            f"{stored.path} is {_describe(stored.settings)} ({stored.format}) and the config has another network or "
            f"input: set {' '.join(flags)}"
        )


def check_model(stored: StoredWeights, model: ResNet, *, any_input: bool) -> None:
    """Checks that a model is the network of the weights, and that the weights were trained with `IMAGENET_INPUT`.

    Args:
      stored: the weights, with the settings that they were trained with.
      model: see `create_model`.
      any_input: accept weights that were trained with another input normalization.

    Raises:
      UsageError: a setting differs; the message gives the arguments of `create_model`, or the normalization.
    """
    settings = model_settings(model) | ({} if any_input else IMAGENET_INPUT)
    differing = {key: stored.settings[key] for key in differing_settings(stored, settings)}
    arguments = [f"{key.removeprefix('model.')}={value!r}" for key, value in differing.items() if "model." in key]
    if arguments:
        raise UsageError(
            f"{stored.path} is {_describe(stored.settings)} ({stored.format}) and the model is another network: make "
            f"the model with create_model({', '.join(arguments)})"
        )
    if differing:
        normalization = ", ".join(f"{key}={value}" for key, value in differing.items())
        raise UsageError(
            f"{stored.path} was trained with {normalization}, which is not ImageNet's normalization: pass "
            "any_input=True, and normalize the images with these values"
        )


def model_settings(model: ResNet) -> dict[str, Any]:
    """Returns config key -> value of a model, for the `NETWORK_KEYS` that start with 'model.'."""
    keys = ("version", "features", "padding", "shortcut", "blur_pool", "squeeze_excitation", "bn_epsilon", "stem")
    settings = {f"model.{key}": getattr(model, key) for key in keys}
    if model.stem == CIFAR_STEM:
        return settings | {"model.name": "resnet_cifar", "model.depth": 6 * model.stage_sizes[0] + 2}
    stages = (model.block, tuple(model.stage_sizes))
    depth = next((depth for depth, sizes in IMAGENET_STAGES.items() if sizes == stages), None)
    return settings | {"model.name": "resnet", "model.depth": depth}


def differing_settings(stored: StoredWeights, settings: Mapping[str, Any]) -> list[str]:
    """Returns the keys in both `stored` and `settings` whose values make the network compute different functions."""
    trained = _canonical(stored.settings, stored.settings)
    given = _canonical({key: settings[key] for key in NETWORK_KEYS if key in settings}, stored.settings)
    return [key for key in NETWORK_KEYS if key in trained and key in given and not _equal(trained[key], given[key])]


def _canonical(settings: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that determine the function of a network, with one value for all values of equal effect.

    For example, model.stem='space_to_depth' becomes 'conv7', which computes the same function.

    Args:
      settings: config key -> value.
      network: settings with 'model.name', 'model.depth' and 'input.per_image', if known. Keys that have no effect in
        such a network are left out, for example 'model.stem' in a 'resnet_cifar'.
    """
    canonical = {key: value for key, value in settings.items() if value is not None}
    same = {"model.stem": {"space_to_depth": "conv7"}}
    if is_basic(network):
        same["model.version"] = {"v1": "v1.5"}  # v1 and v1.5 differ in bottleneck blocks only
    else:
        # The two differ only if the first block of a stage keeps the shape, which bottleneck blocks never do there.
        same["model.shortcut"] = {"stage_projection": "projection"}
    for key, names in same.items():
        if key in canonical:
            canonical[key] = names.get(canonical[key], canonical[key])
    without_effect: list[str] = []
    if network.get("model.name") == "resnet_cifar":
        without_effect += "model.stem", "model.padding"
    if network.get("input.per_image"):
        without_effect += "input.mean", "input.std"
    return {key: value for key, value in canonical.items() if key not in without_effect}


def is_basic(settings: Mapping[str, Any]) -> bool:
    """Returns whether the network of 'model.name' and 'model.depth' has basic blocks, of two 3x3 convolutions."""
    if settings.get("model.name") == "resnet_cifar":
        return True
    return settings.get("model.depth") in [depth for depth, (block, _) in IMAGENET_STAGES.items() if block == "basic"]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other


def _flag(key: str, value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"--config.{key}='({', '.join(map(str, value))})'"
    return f"--config.{key}={value}"


def _describe(settings: Mapping[str, Any]) -> str:
    if "model.depth" not in settings:
        return "a network of unknown depth"
    family = " of the 32-pixel family" if settings.get("model.name") == "resnet_cifar" else ""
    return f"a ResNet-{settings['model.depth']}{family}"
