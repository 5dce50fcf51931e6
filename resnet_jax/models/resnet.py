"""Residual networks: a stem, stages of blocks, the mean over the image and a linear head."""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from resnet_jax.models.batch_norm import BatchNorm
from resnet_jax.models.blocks import BasicBlock, Block, BottleneckBlock

# He et al. 2015, section 3.4: normal with variance 2 / (k * k * channels out).
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_head_init = nn.initializers.normal(0.01)  # Goyal et al. 2017, section 5.1

BLOCKS: dict[str, type[Block]] = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


class ResNet(nn.Module):
    """A residual network.

    Attributes:
      block: 'basic' or 'bottleneck'.
      stage_sizes: blocks in each stage; every stage but the first halves the image and doubles the features.
      features: of the stem and of the first stage.
      stem: 'imagenet' (7x7 stride 2, then 3x3 max-pool stride 2) or 'cifar' (3x3 stride 1).
      num_classes: logits.
      dtype: of activations and convolutions; parameters, statistics and the head are float32.
      bn_group_size: see `BatchNorm`.
      bn_momentum: see `BatchNorm`.
      bn_epsilon: see `BatchNorm`.
      zero_init_last_bn: start every residual branch at zero (Goyal et al. 2017, section 5.1).
    """

    block: Literal["basic", "bottleneck"]
    stage_sizes: Sequence[int]
    features: int
    stem: Literal["imagenet", "cifar"]
    num_classes: int
    dtype: DTypeLike
    bn_group_size: int | None
    bn_momentum: float
    bn_epsilon: float
    zero_init_last_bn: bool

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, 3], normalised -> logits [B, num_classes] float32."""
        norm = functools.partial(
            BatchNorm,
            train=train,
            group_size=self.bn_group_size,
            momentum=self.bn_momentum,
            epsilon=self.bn_epsilon,
            dtype=self.dtype,
        )
        conv = functools.partial(_conv, dtype=self.dtype)
        x = self._stem(x.astype(self.dtype), conv, norm)
        last_scale_init = nn.initializers.zeros if self.zero_init_last_bn else nn.initializers.ones
        for stage, size in enumerate(self.stage_sizes):
            for index in range(size):
                x = BLOCKS[self.block](
                    features=self.features * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    conv=conv,
                    norm=norm,
                    last_scale_init=last_scale_init,
                    name=f"stage{stage + 1}_block{index + 1}",
                )(x)
        x = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        return nn.Dense(self.num_classes, kernel_init=_head_init, dtype=jnp.float32, name="head")(x)

    def _stem(self, x: jax.Array, conv: Callable[..., nn.Module], norm: Callable[..., nn.Module]) -> jax.Array:
        if self.stem == "cifar":
            x = conv(self.features, 3, 1, name="stem_conv")(x)
            return nn.relu(norm(name="stem_bn")(x))
        x = conv(self.features, 7, 2, name="stem_conv")(x)
        x = nn.relu(norm(name="stem_bn")(x))
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def _conv(features: int, kernel_size: int, stride: int, *, dtype: DTypeLike, name: str) -> nn.Conv:
    """A convolution without bias, padded by the same amount on all sides.

    'SAME' would pad a strided convolution unevenly: other borders than PyTorch's, and on GPU an extra pass
    over the activations.
    """
    pad = (kernel_size - 1) // 2
    return nn.Conv(
        features,
        (kernel_size, kernel_size),
        strides=stride,
        padding=((pad, pad), (pad, pad)),
        use_bias=False,
        dtype=dtype,
        kernel_init=_kernel_init,
        name=name,
    )
