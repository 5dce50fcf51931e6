"""The named networks: which blocks, how many, how wide."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import jax.numpy as jnp

from resnet_jax.errors import UsageError
from resnet_jax.models.blocks import BLOCKS, SHORTCUTS
from resnet_jax.models.layers import HEAD_INITS, KERNEL_INITS
from resnet_jax.models.resnet import ResNet
from resnet_jax.models.stems import POOL_PADDINGS, STEMS

BlockName = Literal["basic", "bottleneck"]

# He et al. 2015, table 1; ResNet-200 is He et al. 2016 (Identity Mappings), section 5.
IMAGENET_STAGES: dict[int, tuple[BlockName, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}
CIFAR_STEM = "conv3"
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}

# The values that options with names may have.
NAMED: dict[str, Collection[str]] = {
    "version": BLOCKS,
    "dtype": DTYPES,
    "padding": POOL_PADDINGS,
    "stem": [stem for stem in STEMS if stem != CIFAR_STEM],
    "shortcut": SHORTCUTS,
    "kernel_init": KERNEL_INITS,
    "head_init": HEAD_INITS,
}


def create_model(*, name: str, depth: int, dtype: str, stem: str, **options: Any) -> ResNet:
    """Builds a network by name.

    Args:
      name: 'resnet' (224-pixel family, depths of `IMAGENET_STAGES`) or 'resnet_cifar' (32-pixel family of He et al.
        2015, section 4.2: depth 6n+2, three stages of n basic blocks, a 3x3 stem without pooling).
      depth: weighted layers.
      dtype: one of `DTYPES`, of the activations.
      stem: of 'resnet'; 'resnet_cifar' has its own.
      **options: the other attributes of `ResNet` but `block` and `stage_sizes`.

    Raises:
      UsageError: an unknown name or depth, or options that contradict each other.
    """
    _check(options | {"dtype": dtype, "stem": stem})
    block, stage_sizes = _stages(name, depth)
    return ResNet(
        block=block,
        stage_sizes=stage_sizes,
        dtype=DTYPES[dtype],
        stem=CIFAR_STEM if name == "resnet_cifar" else stem,
        **options,
    )


def _check(options: Mapping[str, Any]) -> None:
    for key, valid in NAMED.items():
        if options[key] not in valid:
            raise UsageError(f"model.{key}={options[key]!r} is not one of {', '.join(valid)}")
    if options["version"] == "v2" and options["zero_init_last_bn"]:
        raise UsageError(
            "model.version=v2 with model.zero_init_last_bn=True would never train: the last norm of a branch comes "
            "before a ReLU and a convolution, which a scale of zero cuts off for good. "
            "Set model.zero_init_last_bn=False"
        )
    if options["stem"] == "deep" and options["features"] % 2:
        raise UsageError(f"model.features={options['features']} is odd: model.stem=deep takes half of it, set it even")


def _stages(name: str, depth: int) -> tuple[BlockName, tuple[int, ...]]:
    if name == "resnet":
        if depth not in IMAGENET_STAGES:
            raise UsageError(f"model.depth={depth} is not one of {', '.join(map(str, IMAGENET_STAGES))}")
        return IMAGENET_STAGES[depth]
    if name == "resnet_cifar":
        if depth < 8 or (depth - 2) % 6:
            raise UsageError(f"model.depth={depth} is not 6n+2 (8, 14, 20, 26, 32, 44, 56, 110, ...)")
        return "basic", ((depth - 2) // 6,) * 3
    raise UsageError(f"model.name={name!r} is not one of resnet, resnet_cifar")
