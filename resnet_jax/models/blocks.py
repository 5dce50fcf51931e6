"""The residual blocks of He et al. 2015 (post-activation) and He et al. 2016 (pre-activation)."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp


class ResidualBlock(nn.Module):
    """What the blocks share; `__call__` takes [B, H, W, C] to [B, ceil(H / stride), .., expansion * features].

    Attributes:
      features: channels inside the block.
      stride: of one convolution of the branch and of the shortcut.
      conv: a convolution but for features, kernel size and stride.
      pointwise_kernel: the kernel of a 1x1 convolution but for features and name.
      norm: a batch norm but for its name.
      last_scale_init: of the scale of the norm that ends the residual branch; unused by version 2.
      shortcut: from the input, channels and stride to what is added (`shortcuts.py`); None: the input itself.
      squeeze_excitation: see `squeeze_and_excite`; 0: none.
      drop_rate: see `drop_branch`.
    """

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    pointwise_kernel: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    last_scale_init: nn.initializers.Initializer
    shortcut: Callable[[jax.Array, int, int], jax.Array] | None
    squeeze_excitation: float
    drop_rate: float

    expansion: ClassVar[int] = 1

    def add(self, branch: jax.Array, x: jax.Array, projected: jax.Array, uniforms: jax.Array | None) -> jax.Array:
        """Ends a block.

        Args:
          branch: the residual branch.
          x: the shortcut where it is the identity.
          projected: what the shortcut is taken of where it is not.
          uniforms: [B], of stochastic depth; None: the branch is never dropped.
        """
        if self.squeeze_excitation:
            branch = squeeze_and_excite(branch, ratio=self.squeeze_excitation, conv=self.conv)
        if uniforms is not None:
            branch = drop_branch(branch, uniforms, rate=self.drop_rate)
        return branch + (x if self.shortcut is None else self.shortcut(projected, branch.shape[-1], self.stride))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions (ResNet-18, ResNet-34 and the 32-pixel family), versions 1 and 1.5."""

    @nn.compact
    def __call__(self, x: jax.Array, uniforms: jax.Array | None = None) -> jax.Array:
        """See `ResidualBlock`."""
        y = self.conv(self.features, 3, self.stride, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.conv(self.features, 3, 1, name="conv2")(y)
        y = self.norm(name="bn2", scale_init=self.last_scale_init)(y)
        return nn.relu(self.add(y, x, x, uniforms))


class BottleneckBlock(ResidualBlock):
    """1x1 down, 3x3, 1x1 up, with the stride on the 3x3: version 1.5 (ResNet-50 and deeper)."""

    expansion: ClassVar[int] = 4
    strides_first: ClassVar[bool] = False

    @nn.compact
    def __call__(self, x: jax.Array, uniforms: jax.Array | None = None) -> jax.Array:
        """See `ResidualBlock`."""
        first, second = (self.stride, 1) if self.strides_first else (1, self.stride)
        y = self.conv(self.features, 1, first, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.conv(self.features, 3, second, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y))
        kernel = self.pointwise_kernel(self.features * self.expansion, name="conv3")(self.features)
        y = self.norm(name="bn3", scale_init=self.last_scale_init)(y, kernel=kernel)
        return nn.relu(self.add(y, x, x, uniforms))


class BottleneckBlockV1(BottleneckBlock):
    """The bottleneck block of the paper, with the stride on the first 1x1: version 1."""

    strides_first: ClassVar[bool] = True


class PreactivationBasicBlock(ResidualBlock):
    """Two 3x3 convolutions, each after a norm and ReLU: version 2."""

    @nn.compact
    def __call__(self, x: jax.Array, uniforms: jax.Array | None = None) -> jax.Array:
        """See `ResidualBlock`."""
        active = nn.relu(self.norm(name="bn1")(x))
        y = self.conv(self.features, 3, self.stride, name="conv1")(active)
        y = nn.relu(self.norm(name="bn2")(y))
        y = self.conv(self.features, 3, 1, name="conv2")(y)
        return self.add(y, x, active, uniforms)


class PreactivationBottleneckBlock(ResidualBlock):
    """1x1 down, 3x3 with the stride, 1x1 up, each after a norm and ReLU: version 2."""

    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x: jax.Array, uniforms: jax.Array | None = None) -> jax.Array:
        """See `ResidualBlock`."""
        active = nn.relu(self.norm(name="bn1")(x))
        y = self.conv(self.features, 1, 1, name="conv1")(active)
        y = nn.relu(self.norm(name="bn2")(y))
        y = self.conv(self.features, 3, self.stride, name="conv2")(y)
        y = nn.relu(self.norm(name="bn3")(y))
        y = self.conv(self.features * self.expansion, 1, 1, name="conv3")(y)
        return self.add(y, x, active, uniforms)


# By version, by kind.
BLOCKS: dict[str, dict[str, type[ResidualBlock]]] = {
    "v1": {"basic": BasicBlock, "bottleneck": BottleneckBlockV1},
    "v1.5": {"basic": BasicBlock, "bottleneck": BottleneckBlock},
    "v2": {"basic": PreactivationBasicBlock, "bottleneck": PreactivationBottleneckBlock},
}


def squeeze_and_excite(x: jax.Array, *, ratio: float, conv: Callable[..., nn.Module]) -> jax.Array:
    """Scales each channel of [B, H, W, C] by what the means of all channels say (Hu et al. 2018).

    Args:
      x: the branch.
      ratio: width of the squeeze / C, rounded: 1/16 in the paper, 1/4 in ResNet-RS (Bello et al. 2021).
      conv: a convolution but for features, kernel size and stride.
    """
    width = max(1, round(ratio * x.shape[-1]))
    means = jnp.mean(x.astype(jnp.float32), axis=(1, 2), keepdims=True).astype(x.dtype)
    squeezed = nn.relu(conv(width, 1, 1, use_bias=True, name="se_reduce")(means))
    return x * nn.sigmoid(conv(x.shape[-1], 1, 1, use_bias=True, name="se_expand")(squeezed))


def drop_branch(x: jax.Array, uniforms: jax.Array, *, rate: float) -> jax.Array:
    """Stochastic depth (Huang et al. 2016): zero for a share of the images, the others scaled by 1 / (1 - rate).

    Args:
      x: the branch, [B, H, W, C].
      uniforms: [B] in [0, 1); an image loses its branch where it is below `rate`.
      rate: in [0, 1). The expectation is x, so that nothing is to be scaled in evaluation.
    """
    kept = jnp.where(uniforms < rate, 0.0, 1.0 / (1.0 - rate))
    return x * kept.astype(x.dtype)[:, None, None, None]


def drop_rate(number: int, num_blocks: int, last_rate: float) -> float:
    """Rate of block `number`, from 0: linear from 0 at the first to `last_rate` at the last, as timm has it.

    Huang et al. let the first of L blocks have last_rate / L already; ResNet-RS counts stages in place of blocks.
    """
    return last_rate * number / max(1, num_blocks - 1)


# From the input [B, H, W, C], channels and stride to [B, ceil(H / stride), ceil(W / stride), channels]. By keyword:
# `conv`, a convolution but for features, kernel size and stride; `pointwise_kernel`, the kernel of a 1x1 convolution
# but for features and name; `norm`, a batch norm but for its name, None in v2.
Shortcut = Callable[..., jax.Array]
Conv = Callable[..., nn.Module]
Norm = Callable[..., nn.Module]


def _projection(
    x: jax.Array, features: int, stride: int, *, conv: Conv, pointwise_kernel: Conv, norm: Norm | None
) -> jax.Array:
    """A 1x1 convolution with the stride (option B of He et al. 2015)."""
    if norm is None:
        return conv(features, 1, stride, name="shortcut_conv")(x)
    if stride > 1:  # cut out first, the pixels that are left would be stored once more
        return norm(name="shortcut_bn")(conv(features, 1, stride, name="shortcut_conv")(x))
    return norm(name="shortcut_bn")(x, kernel=pointwise_kernel(features, name="shortcut_conv")(x.shape[-1]))


def _average_pool(
    x: jax.Array, features: int, stride: int, *, conv: Conv, pointwise_kernel: Conv, norm: Norm | None
) -> jax.Array:
    """The mean of 2x2 pixels (of those there are, at the end of an odd side), then a 1x1 convolution (ResNet-D)."""
    if stride > 1:
        window = (stride, stride)
        x = nn.avg_pool(x, window, strides=window, padding="SAME", count_include_pad=False)
    return _projection(x, features, 1, conv=conv, pointwise_kernel=pointwise_kernel, norm=norm)


def _zero_pad(
    x: jax.Array, features: int, stride: int, *, conv: Conv, pointwise_kernel: Conv, norm: Norm | None
) -> jax.Array:
    """Every `stride`-th pixel, zeros in the new channels: no parameters (option A of He et al. 2015)."""
    del conv, pointwise_kernel, norm
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, features - x.shape[-1])))


SHORTCUTS: dict[str, Shortcut] = {
    "projection": _projection,
    "stage_projection": _projection,  # in the first block of every stage, even where the shape stays (r1)
    "average_pool": _average_pool,
    "zero_pad": _zero_pad,
}
