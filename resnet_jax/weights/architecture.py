"""Infers the architecture of a network from the names and shapes of its weights."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.models.variants import IMAGENET_STAGES

_BLOCK = re.compile(r"params/stage(\d+)_block(\d+)/")


def infer_settings(arrays: Mapping[str, np.ndarray], *, path: str) -> dict[str, Any]:
    """Returns the settings of a network that can be inferred from its weights, as dotted config key -> value.

    Args:
      arrays: name, such as 'params/stem_conv/kernel' -> array; kernels are HWIO.
      path: path of the weights, for error messages.

    Raises:
      UsageError: the arrays do not belong to a network that `create_model` can make.
    """
    shapes = {name.removeprefix("params/"): array.shape for name, array in arrays.items()}
    stem = shapes.get("stem_conv/kernel", ())
    sizes = _stage_sizes(arrays)
    if len(stem) != 4 or not sizes or not all(sizes):
        raise UsageError(
            f"{path} holds no ResNet whose arrays have known names (docs/weights.md): save only the state_dict of the "
            "network"
        )
    bottleneck = "stage1_block1/conv3/kernel" in shapes
    name, depth = _name_and_depth(sizes, bottleneck=bottleneck, path=path)
    _check_widths(shapes, stem[-1], path=path)
    settings = {
        "model.name": name,
        "model.depth": depth,
        "model.features": stem[-1],
        "model.shortcut": _shortcut(shapes, bottleneck=bottleneck),
        "model.squeeze_excitation": _squeeze_excitation(shapes, len(sizes)),
    }
    if name == "resnet":
        settings["model.stem"] = "deep" if "stem_conv1/kernel" in shapes else "conv7"
    return settings


def _stage_sizes(names: Mapping[str, Any]) -> list[int]:
    """Returns the number of blocks of each stage; [0] if the stage numbers have gaps."""
    found = {(int(match[1]), int(match[2])) for match in map(_BLOCK.match, names) if match}
    if len(found) < max(found, default=(0, 0))[0]:
        return [0]  # a stage has no block; for a huge stage number the list below would be huge
    return [sum(stage == number for stage, _ in found) for number in range(1, max(found, default=(0, 0))[0] + 1)]


def _name_and_depth(sizes: list[int], *, bottleneck: bool, path: str) -> tuple[str, int]:
    kind = "bottleneck" if bottleneck else "basic"
    if len(sizes) == 3 and len(set(sizes)) == 1 and not bottleneck:
        return "resnet_cifar", 6 * sizes[0] + 2
    for depth, stages in IMAGENET_STAGES.items():
        if stages == (kind, tuple(sizes)):
            return "resnet", depth
    depths = ", ".join(map(str, IMAGENET_STAGES))
    raise UsageError(
        f"{path} is a ResNet with stages of {', '.join(map(str, sizes))} {kind} blocks, which is not supported: use "
        f"weights of a ResNet of depth {depths}, or of one with three equal stages of basic blocks"
    )


def _check_widths(shapes: Mapping[str, tuple[int, ...]], features: int, *, path: str) -> None:
    """Raises UsageError for ResNeXt, Wide ResNet and stems of unsupported width."""
    problem = None
    if "stem_conv1/kernel" in shapes and shapes["stem_conv1/kernel"][-1] != features // 2:
        problem = f"a stem whose first convolution has {shapes['stem_conv1/kernel'][-1]} channels, not {features // 2}"
    for name, shape in shapes.items():
        match = re.fullmatch(r"stage(\d+)_block\d+/conv2/kernel", name)
        if not match or len(shape) != 4:
            continue
        width = features * 2 ** (int(match[1]) - 1)
        if shape[2] not in (0, shape[3]):
            problem = f"convolutions of {shape[3] // shape[2]} groups, like a ResNeXt"
        elif shape[3] != width:
            problem = f"blocks of {shape[3]} channels instead of {width}, like a Wide ResNet"
    if problem:
        raise UsageError(f"{path} is of an unsupported network, which has {problem}: use weights of a ResNet")


def _shortcut(shapes: Mapping[str, Any], *, bottleneck: bool) -> str:
    """Returns the value of `model.shortcut`.

    It is 'projection' also for a network with 'average_pool', whose arrays have the same names and shapes.
    """
    if not any("shortcut_conv" in name for name in shapes):
        return "zero_pad"
    return "stage_projection" if not bottleneck and "stage1_block1/shortcut_conv/kernel" in shapes else "projection"


def _squeeze_excitation(shapes: Mapping[str, tuple[int, ...]], stages: int) -> float:
    """Returns the ratio of squeeze width to block width, from the widest stage, where rounding matters least."""
    reduce = shapes.get(f"stage{stages}_block1/se_reduce/kernel")
    return 0.0 if reduce is None else reduce[3] / reduce[2]
