"""The two residual blocks of He et al. 2015 (figure 5), post-activation."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18, ResNet-34 and the 32-pixel family).

    Attributes:
      features: channels inside and at the end of the block.
      stride: of the first convolution and of the shortcut.
      conv: a convolution but for features, kernel size and stride.
      norm: a batch norm.
      last_scale_init: of the scale of the norm that ends the residual branch.
    """

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    last_scale_init: nn.initializers.Initializer

    expansion: ClassVar[int] = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, expansion * features]."""
        y = self.conv(self.features, 3, self.stride, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.conv(self.features, 3, 1, name="conv2")(y)
        y = self.norm(name="bn2", scale_init=self.last_scale_init)(y)
        return nn.relu(y + _shortcut(self, x, y.shape))


class BottleneckBlock(nn.Module):
    """1x1 down, 3x3, 1x1 up, with the stride on the 3x3: version 1.5 (ResNet-50 and deeper).

    Attributes: as `BasicBlock`; the block ends with 4 * features channels.
    """

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    last_scale_init: nn.initializers.Initializer

    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, expansion * features]."""
        y = self.conv(self.features, 1, 1, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.conv(self.features, 3, self.stride, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y))
        y = self.conv(self.features * self.expansion, 1, 1, name="conv3")(y)
        y = self.norm(name="bn3", scale_init=self.last_scale_init)(y)
        return nn.relu(y + _shortcut(self, x, y.shape))


Block = BasicBlock | BottleneckBlock


def _shortcut(block: Block, x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The input itself, or its 1x1 projection where the shape changes (option B of He et al. 2015)."""
    if x.shape == shape:
        return x
    x = block.conv(shape[-1], 1, block.stride, name="shortcut_conv")(x)
    return block.norm(name="shortcut_bn")(x)
