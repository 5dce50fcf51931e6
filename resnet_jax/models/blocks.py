"""Residual blocks: post-activation (He et al. 2015) and pre-activation (He et al. 2016, Identity Mappings).

The file defines the blocks, then squeeze-and-excitation and stochastic depth, which scale their residual branch, then
the shortcuts.
"""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from resnet_jax.models.batch_norm import BatchNorm
from resnet_jax.models.fused_conv_norm import FusedConvNorm
from resnet_jax.models.fused_norm_relu import FusedNormRelu
from resnet_jax.models.layers import PointwiseConv

# Constructors of layers that take only the arguments in parentheses; all other arguments are already set.
Conv = Callable[..., nn.Module]  # constructor of a convolution: (features, kernel_size, stride, name=...)
Pointwise = Callable[..., PointwiseConv]  # constructor of a 1x1 convolution: (features, name=...)
Norm = Callable[..., BatchNorm]  # constructor of a batch norm: (name=...)


class ResidualBlock(nn.Module):
    """Base class of residual blocks: [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), expansion * features].

    Attributes:
      features: channels of the convolutions inside the block; the output has `expansion` times as many.
      stride: stride of one convolution of the branch, and of the shortcut.
      conv: constructor of a convolution.
      pointwise: constructor of a 1x1 convolution of stride 1.
      norm: constructor of a batch norm.
      last_scale_init: initializer of the scale of the norm that ends the branch; unused in pre-activation blocks.
      projection: function of the input, the number of output channels and the stride, which computes the shortcut,
        see `SHORTCUTS`. None: the shortcut is the identity.
      squeeze_excitation: `ratio` of `squeeze_and_excite`; 0: no squeeze-and-excitation.
      drop_rate: probability that stochastic depth drops the branch, `rate` of `drop_branch`.
    """

    features: int
    stride: int
    conv: Conv
    pointwise: Pointwise
    norm: Norm
    last_scale_init: nn.initializers.Initializer
    projection: Callable[[jax.Array, int, int], jax.Array] | None
    squeeze_excitation: float
    drop_rate: float

    expansion: ClassVar[int] = 1

    def scale_branch(self, branch: jax.Array, uniforms: jax.Array | None) -> jax.Array:
        """Applies squeeze-and-excitation and stochastic depth to the residual branch, if they are turned on.

        Args:
          branch: [B, H, W, C], output of the residual branch.
          uniforms: [B] float32 in [0, 1), a random number per image for stochastic depth. None: drops no branch.
        """
        if self.squeeze_excitation:
            branch = squeeze_and_excite(branch, ratio=self.squeeze_excitation, conv=self.conv)
        return branch if uniforms is None else drop_branch(branch, uniforms, rate=self.drop_rate)

    def shortcut(self, x: jax.Array, *, activated: jax.Array | None = None) -> jax.Array:
        """Returns `x` if the block has no projection; else the projection of `activated`, or of `x` if that is None.

        Args:
          x: input of the block.
          activated: the input after the first norm and ReLU, in pre-activation blocks.
        """
        if self.projection is None:
            return x
        return self.projection(x if activated is None else activated, self.features * self.expansion, self.stride)


class BasicBlock(ResidualBlock):
    """Block of two 3x3 convolutions, for ResNet-18, ResNet-34 and networks for 32-pixel images, versions 1 and 1.5."""

    @nn.compact
    def __call__(self, x: jax.Array, uniforms: jax.Array | None = None) -> jax.Array:
        """Applies the block; for shapes see `ResidualBlock`, for `uniforms` see `scale_branch`."""
        y = self.conv(self.features, 3, self.stride, name="conv1")(x)
        y = FusedNormRelu(self.norm(name="bn1"))(y)
        y = self.conv(self.features, 3, 1, name="conv2")(y)
        y = self.norm(name="bn2", scale_init=self.last_scale_init)(y)
        return final_relu(self.scale_branch(y, uniforms) + self.shortcut(x))


class BottleneckBlock(ResidualBlock):
    """Block of version 1.5 of ResNet-50 and deeper: 1x1 convolution to fewer channels, 3x3 with stride, 1x1 to more."""

    expansion: ClassVar[int] = 4
    stride_on_first: ClassVar[bool] = False

    @nn.compact
    def __call__(self, x: jax.Array, uniforms: jax.Array | None = None) -> jax.Array:
        """Applies the block; for shapes see `ResidualBlock`, for `uniforms` see `scale_branch`."""
        first, second = (self.stride, 1) if self.stride_on_first else (1, self.stride)
        y = self.conv(self.features, 1, first, name="conv1")(x)
        y = FusedNormRelu(self.norm(name="bn1"))(y)
        y = self.conv(self.features, 3, second, name="conv2")(y)
        y = FusedNormRelu(self.norm(name="bn2"))(y)
        conv3 = self.pointwise(self.features * self.expansion, name="conv3")
        y = FusedConvNorm(conv3, self.norm(name="bn3", scale_init=self.last_scale_init))(y)
        return final_relu(self.scale_branch(y, uniforms) + self.shortcut(x))


class BottleneckBlockV1(BottleneckBlock):
    """Bottleneck block of version 1 (He et al. 2015), with the stride on the first 1x1 convolution."""

    stride_on_first: ClassVar[bool] = True


class PreactivationBasicBlock(ResidualBlock):
    """Block of version 2: two 3x3 convolutions, each preceded by a norm and a ReLU."""

    @nn.compact
    def __call__(self, x: jax.Array, uniforms: jax.Array | None = None) -> jax.Array:
        """Applies the block; for shapes see `ResidualBlock`, for `uniforms` see `scale_branch`."""
        activated = FusedNormRelu(self.norm(name="bn1"))(x)
        y = self.conv(self.features, 3, self.stride, name="conv1")(activated)
        y = FusedNormRelu(self.norm(name="bn2"))(y)
        y = self.conv(self.features, 3, 1, name="conv2")(y)
        return self.scale_branch(y, uniforms) + self.shortcut(x, activated=activated)


class PreactivationBottleneckBlock(ResidualBlock):
    """Bottleneck block of version 2: as `BottleneckBlock`, but norm and ReLU come before each convolution."""

    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x: jax.Array, uniforms: jax.Array | None = None) -> jax.Array:
        """Applies the block; for shapes see `ResidualBlock`, for `uniforms` see `scale_branch`."""
        activated = FusedNormRelu(self.norm(name="bn1"))(x)
        y = self.conv(self.features, 1, 1, name="conv1")(activated)
        y = FusedNormRelu(self.norm(name="bn2"))(y)
        y = self.conv(self.features, 3, self.stride, name="conv2")(y)
        y = FusedNormRelu(self.norm(name="bn3"))(y)
        y = self.conv(self.features * self.expansion, 1, 1, name="conv3")(y)
        return self.scale_branch(y, uniforms) + self.shortcut(x, activated=activated)


# Class of the residual blocks: network version -> `block` option -> class.
BLOCKS: dict[str, dict[str, type[ResidualBlock]]] = {
    "v1": {"basic": BasicBlock, "bottleneck": BottleneckBlockV1},
    "v1.5": {"basic": BasicBlock, "bottleneck": BottleneckBlock},
    "v2": {"basic": PreactivationBasicBlock, "bottleneck": PreactivationBottleneckBlock},
}


@jax.custom_vjp
def final_relu(x: jax.Array) -> jax.Array:
    """ReLU at the end of a block. Its gradient is computed from its result, which the next block keeps anyway."""
    return nn.relu(x)


def _final_relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = nn.relu(x)
    return y, y


def _final_relu_backward(y: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    # `y > 0` gives the same, but XLA replaces it by `x > 0` and recomputes x, the sum of branch and shortcut.
    return (jnp.where(y != 0, cotangent, 0),)


final_relu.defvjp(_final_relu_forward, _final_relu_backward)


def squeeze_and_excite(x: jax.Array, *, ratio: float, conv: Conv) -> jax.Array:
    """Multiplies each channel of [B, H, W, C] by a gate in (0, 1) computed from all channel means (Hu et al. 2018).

    Args:
      x: [B, H, W, C], the residual branch.
      ratio: width of the hidden layer divided by C; the width is at least 1. 1/16 in the paper, 1/4 in ResNet-RS
        (Bello et al. 2021).
      conv: constructor of a convolution.
    """
    width = max(1, round(ratio * x.shape[-1]))
    means = jnp.mean(x.astype(jnp.float32), axis=(1, 2), keepdims=True).astype(x.dtype)
    squeezed = nn.relu(conv(width, 1, 1, use_bias=True, name="se_reduce")(means))
    return x * nn.sigmoid(conv(x.shape[-1], 1, 1, use_bias=True, name="se_expand")(squeezed))


def drop_branch(x: jax.Array, uniforms: jax.Array, *, rate: float) -> jax.Array:
    """Stochastic depth (Huang et al. 2016): zeroes the branch of random images, scales all others by 1 / (1 - rate).

    The expectation of the result is `x`, so evaluation needs no correction.

    Args:
      x: the branch, [B, H, W, C].
      uniforms: [B] float32 in [0, 1); the branch of image i is zeroed if uniforms[i] < rate.
      rate: probability that the branch of an image is zeroed, in [0, 1).
    """
    factors = jnp.where(uniforms < rate, 0.0, 1.0 / (1.0 - rate))
    return x * factors.astype(x.dtype)[:, None, None, None]


def drop_rate(number: int, num_blocks: int, last_rate: float) -> float:
    """Returns the drop rate of block `number`, linear from 0 for block 0 to `last_rate` for block num_blocks - 1.

    This is timm's rule. In Huang et al. the first of L blocks has the rate last_rate / L; ResNet-RS counts stages
    instead of blocks.
    """
    return last_rate * number / max(1, num_blocks - 1)


def _projection(
    x: jax.Array, features: int, stride: int, *, conv: Conv, pointwise: Pointwise, norm: Norm | None
) -> jax.Array:
    """Shortcut: a 1x1 convolution with the stride of the block, then a norm. Option B of He et al. 2015."""
    if norm is None:
        return conv(features, 1, stride, name="shortcut_conv")(x)
    if stride > 1:  # FusedConvNorm has no stride: every `stride`-th pixel of x would be copied first
        return norm(name="shortcut_bn")(conv(features, 1, stride, name="shortcut_conv")(x))
    return FusedConvNorm(pointwise(features, name="shortcut_conv"), norm(name="shortcut_bn"))(x)


def _average_pool(
    x: jax.Array, features: int, stride: int, *, conv: Conv, pointwise: Pointwise, norm: Norm | None
) -> jax.Array:
    """Shortcut of ResNet-D (He et al. 2019, Bag of Tricks): 2x2 average pooling, then a projection of stride 1.

    If H or W is odd, the last windows are averaged over the pixels inside the image only.
    """
    if stride > 1:
        window = (stride, stride)
        x = nn.avg_pool(x, window, strides=window, padding="SAME", count_include_pad=False)
    return _projection(x, features, 1, conv=conv, pointwise=pointwise, norm=norm)


def _zero_pad(
    x: jax.Array, features: int, stride: int, *, conv: Conv, pointwise: Pointwise, norm: Norm | None
) -> jax.Array:
    """Shortcut without parameters: every `stride`-th pixel; new channels are zeros. Option A of He et al. 2015."""
    del conv, pointwise, norm
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, features - x.shape[-1])))


# Functions that compute the shortcut: the input [B, H, W, C], `features` and `stride` ->
# [B, ceil(H / stride), ceil(W / stride), features]. `norm` is None in version 2, where shortcuts have no norm.
SHORTCUTS: dict[str, Callable[..., jax.Array]] = {
    "projection": _projection,
    # As in the r1.x ResNet of the TensorFlow Models repository: the first block of each stage has a
    # projection, even if it keeps the shape.
    "stage_projection": _projection,
    "average_pool": _average_pool,
    "zero_pad": _zero_pad,
}
