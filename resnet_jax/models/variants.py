"""Builds networks by name and depth, and checks the options of networks."""

from collections.abc import Collection, Mapping
from typing import Literal

import jax.numpy as jnp

from resnet_jax.errors import UsageError
from resnet_jax.models.blocks import BLOCKS, SHORTCUTS
from resnet_jax.models.layers import HEAD_INITS, KERNEL_INITS
from resnet_jax.models.max_pool import POOL_PADDINGS
from resnet_jax.models.resnet import ResNet
from resnet_jax.models.stems import STEMS

BlockName = Literal["basic", "bottleneck"]

# Block and stage sizes by depth: He et al. 2015, table 1; 200: He et al. 2016 (Identity Mappings), section 5.
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

# Valid values of each `model.*` option whose value is a name.
NAMED: dict[str, Collection[str]] = {
    "name": ("resnet", "resnet_cifar"),
    "version": BLOCKS,
    "dtype": DTYPES,
    "padding": POOL_PADDINGS,
    "stem": [stem for stem in STEMS if stem != CIFAR_STEM],
    "shortcut": SHORTCUTS,
    "kernel_init": KERNEL_INITS,
    "head_init": HEAD_INITS,
}


def create_model(  # noqa: PLR0913 (all options of the library's networks)
    *,
    name: str = "resnet",
    version: str = "v1.5",
    depth: int = 50,
    features: int = 64,
    num_classes: int = 1000,
    dtype: str = "bfloat16",
    padding: str = "torch",
    stem: str = "conv7",
    shortcut: str = "projection",
    blur_pool: bool = False,
    squeeze_excitation: float = 0.0,
    stochastic_depth: float = 0.0,
    bn_group_size: int | None = 128,
    bn_momentum: float = 0.9,
    bn_epsilon: float = 1e-5,
    zero_init_last_bn: bool = True,
    kernel_init: str = "he",
    head_init: str = "normal",
    trained_norms: str = "",
) -> ResNet:
    """Builds a network by name; the defaults are those of the main recipe, `configs/resnet50.py`.

    Args:
      name: 'resnet', the 224-pixel family, or 'resnet_cifar', the 32-pixel family of He et al. 2015, section 4.2: three
        stages of basic blocks after a 3x3 stem without max-pool, in the paper with 16 features.
      version: 'v1' (He et al. 2015), 'v1.5' (stride on the 3x3 convolution) or 'v2' (pre-activation, He et al. 2016).
      depth: number of weighted layers: a key of `IMAGENET_STAGES`, or 6n+2 for 'resnet_cifar'.
      features: channels of the stem, and of the convolutions inside the blocks of the first stage.
      num_classes: number of logits.
      dtype: type of the activations, a key of `DTYPES`; parameters, statistics and logits are float32.
      padding: padding of the max-pool, 'torch' or 'tf'.
      stem: 'conv7', 'space_to_depth' (the same function as 'conv7') or 'deep'; ignored for 'resnet_cifar'.
      shortcut: key of `SHORTCUTS`, the shortcut of blocks that change the shape.
      blur_pool: low-pass filter the input of strided convolutions in blocks (Zhang 2019).
      squeeze_excitation: hidden width of squeeze-and-excitation divided by the channels of the block's output; 0: none.
      stochastic_depth: drop rate of the last residual branch in training; 0: no stochastic depth.
      bn_group_size: images that share batch norm statistics; None: the whole batch.
      bn_momentum: weight of the old value in the update of the running statistics.
      bn_epsilon: constant added to variances.
      zero_init_last_bn: initialize the scale of the last norm of each branch to zero; must be False for 'v2'.
      kernel_init: key of `KERNEL_INITS`, initializer of convolutions.
      head_init: key of `HEAD_INITS`, initializers of the linear head.
      trained_norms: regular expression; a batch norm whose parameters it does not match is frozen. '' freezes none.

    Raises:
      UsageError: an option has an invalid value (the message lists the valid ones), or two options conflict.
    """
    _check_names(
        {
            "name": name,
            "version": version,
            "dtype": dtype,
            "padding": padding,
            "stem": stem,
            "shortcut": shortcut,
            "kernel_init": kernel_init,
            "head_init": head_init,
        }
    )
    _check_combinations(version=version, zero_init_last_bn=zero_init_last_bn, stem=stem, features=features)
    block, stage_sizes = _stages(name, depth)
    return ResNet(
        version=version,
        block=block,
        stage_sizes=stage_sizes,
        features=features,
        num_classes=num_classes,
        dtype=DTYPES[dtype],
        padding=padding,
        stem=CIFAR_STEM if name == "resnet_cifar" else stem,
        shortcut=shortcut,
        blur_pool=blur_pool,
        squeeze_excitation=squeeze_excitation,
        stochastic_depth=stochastic_depth,
        bn_group_size=bn_group_size,
        bn_momentum=bn_momentum,
        bn_epsilon=bn_epsilon,
        zero_init_last_bn=zero_init_last_bn,
        kernel_init=kernel_init,
        head_init=head_init,
        trained_norms=trained_norms,
    )


def _check_names(chosen: Mapping[str, str]) -> None:
    for key, value in chosen.items():
        if value not in NAMED[key]:
            raise UsageError(f"model.{key}={value!r} is not one of {', '.join(NAMED[key])}")


def _check_combinations(*, version: str, zero_init_last_bn: bool, stem: str, features: int) -> None:
    if version == "v2" and zero_init_last_bn:
        raise UsageError(
            "model.version=v2 with model.zero_init_last_bn=True would never train: the last norm of a branch comes "
            "before a ReLU and a convolution, and with a scale of zero no gradient passes through them. "
            "Set model.zero_init_last_bn=False"
        )
    if stem == "deep" and features % 2:
        raise UsageError(
            f"model.features={features} is odd, but model.stem=deep needs half of model.features: set an even number"
        )


def _stages(name: str, depth: int) -> tuple[BlockName, tuple[int, ...]]:
    """Returns the block type and the number of blocks of each stage. Raises UsageError for an invalid depth."""
    if name == "resnet":
        if depth not in IMAGENET_STAGES:
            raise UsageError(f"model.depth={depth} is not one of {', '.join(map(str, IMAGENET_STAGES))}")
        return IMAGENET_STAGES[depth]
    if depth < 8 or (depth - 2) % 6:
        raise UsageError(f"model.depth={depth} is not 6n+2 (8, 14, 20, 26, 32, 44, 56, 110, ...)")
    return "basic", ((depth - 2) // 6,) * 3
