"""The named networks: which blocks, how many, how wide."""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from resnet_jax.errors import UsageError
from resnet_jax.models.resnet import ResNet

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
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create_model(*, name: str, depth: int, dtype: str, **options: Any) -> nn.Module:
    """Builds a network by name.

    Args:
      name: 'resnet' (224-pixel family, version 1.5, depths of `IMAGENET_STAGES`) or 'resnet_cifar' (32-pixel
        family of He et al. 2015, section 4.2: depth 6n+2, three stages of n basic blocks).
      depth: weighted layers.
      dtype: 'float32' or 'bfloat16', of the activations.
      **options: the other attributes of `ResNet`.

    Raises:
      UsageError: an unknown name, depth or dtype.
    """
    if dtype not in DTYPES:
        raise UsageError(f"model.dtype={dtype!r} is not one of {', '.join(DTYPES)}")
    block, stage_sizes = _stages(name, depth)
    return ResNet(
        block=block,
        stage_sizes=stage_sizes,
        stem="cifar" if name == "resnet_cifar" else "imagenet",
        dtype=DTYPES[dtype],
        **options,
    )


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
