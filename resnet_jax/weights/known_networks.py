"""Finds the network in torchvision or timm that computes the same function as a network of this package."""

from collections.abc import Mapping
from typing import Any

# Settings that all networks named in this file have in common.
_COMMON = {
    "model.name": "resnet",
    "model.version": "v1.5",
    "model.features": 64,
    "model.padding": "torch",
    "model.blur_pool": False,
    "model.bn_epsilon": 1e-5,
}
_TORCHVISION = (18, 34, 50, 101, 152)
_BOTTLENECK = (50, 101, 152, 200)  # depths of networks whose blocks have three convolutions
# Depths at which timm's seresnet networks equal those of this package. The squeeze layers of this package have 1/16 of
# the block's channels, those of timm at least 8 channels, which is more in the first blocks of seresnet18 and 34.
_TIMM_SQUEEZED = (50, 101, 152)


def pytorch_network(settings: Mapping[str, Any]) -> str | None:
    """Returns the name of the network in torchvision or timm, as "torchvision's resnet50"; None if neither has it.

    Args:
      settings: settings of the network by dotted config key, at least those that `infer_settings` finds, and the keys
        of `_COMMON`.
    """
    if any(settings[key] != value for key, value in _COMMON.items()):
        return None
    depth, squeeze = settings["model.depth"], settings["model.squeeze_excitation"]
    is_deep, shortcut = settings["model.stem"] == "deep", settings["model.shortcut"]
    if is_deep and shortcut == "average_pool" and not squeeze:
        return f"timm's resnet{depth}d"
    # 'stage_projection' has a projection at the start of every stage, 'projection' wherever the shape changes. With
    # bottleneck blocks this is the same, because the shape changes at the start of every stage.
    if is_deep or not (shortcut == "projection" or (shortcut == "stage_projection" and depth in _BOTTLENECK)):
        return None
    if squeeze:
        return f"timm's seresnet{depth}" if squeeze == 1 / 16 and depth in _TIMM_SQUEEZED else None
    return f"torchvision's resnet{depth}" if depth in _TORCHVISION else f"timm's resnet{depth}"


def timm_architecture(settings: Mapping[str, Any]) -> str | None:
    """Returns timm's name of the network, such as 'resnet50'; None if timm does not have it.

    timm has all ResNets of torchvision, under the same names. timm cannot normalize each image by its own mean, so
    networks with `input.per_image` are not in timm.
    """
    found = pytorch_network(settings)
    return found.split(" ")[-1] if found and not settings["input.per_image"] else None
