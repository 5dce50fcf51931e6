"""Reads and makes timm's `config.json`, which lies beside a file of weights and describes their input and classes."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.data.regular_files import read_regular
from resnet_jax.errors import UsageError
from resnet_jax.nested import has_shape
from resnet_jax.weights.compatibility import IMAGE_SIZE_KEY, IMAGENET_INPUT

CONFIG = "config.json"
# Resize kernel of this program -> kernel of Pillow, as timm names it, with the same or nearly the same result.
INTERPOLATIONS = {
    "bicubic_antialias": "bicubic",
    "bicubic": "bicubic",
    "bilinear_antialias": "bilinear",
    "bilinear": "bilinear",
    "bilinear_tf1": "bilinear",
    "area": "bilinear",
}
_DOWNSAMPLING = 32  # ratio of the image size to the size of the last feature maps


class TimmConfig(NamedTuple):
    """The part of timm's `config.json` that this program uses."""

    settings: dict[str, Any]  # config key -> value: the input normalization, and the image size if it is known
    label_names: tuple[str, ...] | None  # names of the classes, in the order of the outputs; None: not in the file


def _is_color(value: Any) -> bool:
    return has_shape(value, [lambda number: type(number) in (int, float) and math.isfinite(number)]) and len(value) == 3


def _is_deviation(value: Any) -> bool:
    return _is_color(value) and min(value) > 0


def _is_input_size(value: Any) -> bool:
    return has_shape(value, [int]) and len(value) == 3 and min(value) > 0


# The keys that are read: mean and standard deviation of R, G, B in 0..1, and the image size as [3, height, width].
_SHAPE = {"mean": (_is_color, None), "std": (_is_deviation, None), "input_size": (_is_input_size, None)}


def read_timm_config(weights: Path) -> TimmConfig:
    """Reads the `config.json` beside a file of weights; if there is none, returns ImageNet's normalization.

    Args:
      weights: path of the file of weights.

    Raises:
      UsageError: the file is damaged, or describes a network with blurred pooling, which is not supported.
    """
    path = weights.with_name(CONFIG)
    try:
        content = json.loads(read_regular(path))
    except FileNotFoundError:
        return TimmConfig(IMAGENET_INPUT, None)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}, beside the weights, is damaged ({error}): correct it, or move it away") from None
    inner = content.get("pretrained_cfg") if isinstance(content, dict) else None
    values = (content if isinstance(content, dict) else {}) | (inner if isinstance(inner, dict) else {})
    architecture = str(values.get("architecture", ""))
    if re.search(r"blur|aa\d", architecture):
        raise UsageError(
            f"{weights} is {architecture}, whose blurred pooling is not supported: use a network without it"
        )
    found = {key: values.get(key) or None for key in _SHAPE}
    if not has_shape(found, _SHAPE):
        raise UsageError(
            f"{path}, beside the weights, is damaged: correct its mean, std and input_size, or move it away"
        )
    mean, std, size = found.values()
    given = {f"input.{key}": [255.0 * v for v in color] for key, color in (("mean", mean), ("std", std)) if color}
    settings = IMAGENET_INPUT | given | ({IMAGE_SIZE_KEY: size[-1]} if size else {})
    names = values.get("label_names")  # in timm also a dict from number to name, which is ignored: it may have gaps
    return TimmConfig(settings, tuple(names) if isinstance(names, list) and has_shape(names, [str]) else None)


def make_timm_config(
    architecture: str,
    settings: Mapping[str, Any],
    preprocessing: EvalPreprocessing,
    *,
    class_names: Sequence[str],
    num_features: int,
    license_name: str,
) -> dict[str, Any]:
    """Returns the content of `config.json` in the form that timm's `save_config_for_hf` writes.

    Args:
      architecture: timm's name of the network.
      settings: settings of the network, config key -> value, with the input normalization in 0..255.
      preprocessing: how an image file is decoded, cropped and resized in evaluation.
      class_names: names of the classes, in the order of the outputs.
      num_features: number of inputs of the last layer.
      license_name: license of the weights.
    """
    size = preprocessing.image_size
    return {
        "architecture": architecture,
        "num_classes": len(class_names),
        "num_features": num_features,
        "label_names": list(class_names),
        "pretrained_cfg": {
            "tag": "resnet_jax",
            "custom_load": False,
            "input_size": [3, size, size],
            "fixed_input_size": False,
            "interpolation": INTERPOLATIONS[preprocessing.resize],
            "crop_pct": preprocessing.fraction,
            "crop_mode": "center",
            "mean": _in_0_to_1(settings["input.mean"]),
            "std": _in_0_to_1(settings["input.std"]),
            "num_classes": len(class_names),
            "pool_size": [math.ceil(size / _DOWNSAMPLING)] * 2,
            "first_conv": "conv1.0" if settings["model.stem"] == "deep" else "conv1",
            "classifier": "fc",
            "license": license_name,
        },
    }


def _in_0_to_1(color: Sequence[float]) -> list[float]:
    return [round(value / 255, 12) for value in color]
