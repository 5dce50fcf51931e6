"""Shortcuts of residual blocks that change the shape; where they do not, the shortcut is the input itself."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

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
