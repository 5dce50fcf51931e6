"""The settings that weights depend on: compared with those of a config."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_jax.errors import UsageError
from resnet_jax.models.variants import IMAGENET_STAGES
from resnet_jax.weights.stored import StoredWeights

# The weights mean something else if one of these is changed.
NETWORK_KEYS = (
    *("model.name", "model.version", "model.depth", "model.features", "model.padding", "model.stem"),
    *("model.shortcut", "model.blur_pool", "model.squeeze_excitation", "model.bn_epsilon"),
    *("input.mean", "input.std", "input.per_image"),
)
# Those that fit any weights, well or badly.
_INPUT_KEYS = ("model.padding", "input.mean", "input.std", "input.per_image")


def check_settings(stored: StoredWeights, settings: Mapping[str, Any], *, any_input: bool = False) -> None:
    """Makes sure that a network is, and is given, what the weights were trained with, as far as that is known.

    Args:
      stored: the weights.
      settings: of the network, by dotted key, all of `NETWORK_KEYS`.
      any_input: whatever padding and normalisation they were trained with.

    Raises:
      UsageError: it is not; names the flags to set.
    """
    ignored = _INPUT_KEYS if any_input else ()
    flags = [_flag(key, stored.settings[key]) for key in differing_settings(stored, settings) if key not in ignored]
    if flags:
        raise UsageError(
            f"{stored.path} is {_what(stored.settings)} ({stored.format}) and the config another network, or input: "
            f"set {' '.join(flags)}"
        )


def differing_settings(stored: StoredWeights, settings: Mapping[str, Any]) -> list[str]:
    """The keys in which the function that is computed differs from the one that the weights were trained for."""
    there = _canonical(stored.settings, stored.settings)
    here = _canonical({key: settings[key] for key in NETWORK_KEYS}, stored.settings)
    return [key for key in NETWORK_KEYS if key in there and key in here and not _equal(there[key], here[key])]


def _canonical(settings: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which equal functions of the family of `network` have equal values; those without effect go."""
    canonical = {key: value for key, value in settings.items() if value is not None}
    same = {"model.stem": {"space_to_depth": "conv7"}}
    if is_basic(network):
        same["model.version"] = {"v1": "v1.5"}  # they differ in bottlenecks alone
    else:
        same["model.shortcut"] = {"stage_projection": "projection"}  # every stage changes the shape
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
    """Whether a network, of the keys 'model.name' and 'model.depth', has blocks of two 3x3 convolutions."""
    if settings.get("model.name") == "resnet_cifar":
        return True
    return settings.get("model.depth") in [depth for depth, (kind, _) in IMAGENET_STAGES.items() if kind == "basic"]


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


def _what(settings: Mapping[str, Any]) -> str:
    if "model.depth" not in settings:
        return "of a run"
    family = " of the 32-pixel family" if settings.get("model.name") == "resnet_cifar" else ""
    return f"a ResNet-{settings['model.depth']}{family}"
