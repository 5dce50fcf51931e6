"""Convolution of images of few pixels, as one matrix product."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from resnet_jax.models.platforms import with_direct_gradient, with_ordered_gradient
from resnet_jax.models.subsampled_convolution import with_subsampled_gradient

# Largest height or width of a result, in pixels, that is computed by a matrix product. Up to this size XLA's code for
# CPUs computes a convolution, or the gradient of its input, at a fiftieth of its usual speed. For larger results,
# its convolutions are as fast as matrix products, and faster with few channels (benchmarks/cpu_convolutions.py).
LARGEST_RESULT = 2
# The same for convolutions with a stride above 1 and at least `FEWEST_CHANNELS` input channels: XLA computes their
# input gradient at a thirtieth of its usual speed.
LARGEST_STRIDED_RESULT = 4
FEWEST_CHANNELS = 64


def convolve(x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **options: Any) -> jax.Array:
    """Computes `jax.lax.conv_general_dilated`; as a matrix product if the result has few pixels, see `LARGEST_RESULT`.

    Both forms compute the same sums, in another order. The choice depends on shapes only, so that a network computes
    the same on all platforms; accelerators compute images of so few pixels fast in either form.

    Args:
      x: [B, H, W, C].
      kernel: [k, k, C, F], of the type of `x`.
      window_strides: strides along height and width.
      padding: ((low, high), (low, high)), pixels of zeros around the images.
      **options: further arguments of `jax.lax.conv_general_dilated`, with the layouts NHWC and HWIO of `nn.Conv`.

    Returns:
      [B, H', W', F].
    """
    size, kernel = kernel.shape[0], with_ordered_gradient(kernel)
    padded = (side + sum(pads) for side, pads in zip(x.shape[1:3], padding, strict=True))
    sides = ((side - size) // stride + 1 for side, stride in zip(padded, window_strides, strict=True))

    def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, window_strides, padding, **options)

    def dense(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, **options)

    plain = _is_plain(x, kernel, options)
    if plain and size == 1 and max(window_strides) == 1:
        return with_direct_gradient(convolution)(x, kernel)
    if plain and size == 1 and len(set(window_strides)) == 1 and not any(map(sum, padding)):
        return with_subsampled_gradient(convolution, dense, stride=window_strides[0])(x, kernel)
    strided = max(window_strides) > 1 and x.shape[3] >= FEWEST_CHANNELS
    if plain and size > 1 and max(sides) <= (LARGEST_STRIDED_RESULT if strided else LARGEST_RESULT):
        return as_product(x, kernel, window_strides, padding, precision=options.get("precision"))
    return convolution(x, kernel)


def as_product(
    x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, *, precision: Any = None
) -> jax.Array:
    """Computes `convolve` as a matrix product: pixels under the kernel at each of its positions, times the kernel."""
    size = kernel.shape[0]
    windows = _windows(jnp.pad(x, ((0, 0), *padding, (0, 0))), size, window_strides)
    return jnp.einsum("bhwk,kf->bhwf", windows, kernel.reshape(-1, kernel.shape[-1]), precision=precision)


def _is_plain(x: jax.Array, kernel: jax.Array, options: dict[str, Any]) -> bool:
    """Returns whether the convolution has one group and no dilation."""
    dilations = (options.get(name) or (1, 1) for name in ("lhs_dilation", "rhs_dilation"))
    return kernel.shape[2] == x.shape[3] and all(set(dilation) == {1} for dilation in dilations)


def _windows(padded: jax.Array, size: int, strides: Sequence[int]) -> jax.Array:
    """Returns the pixels under the kernel at each of its positions: [B, H, W, C] -> [B, H', W', size * size * C]."""
    rows, columns = ((side - size) // stride + 1 for side, stride in zip(padded.shape[1:3], strides, strict=True))
    shifted = [
        padded[:, i : i + strides[0] * (rows - 1) + 1 : strides[0], j : j + strides[1] * (columns - 1) + 1 : strides[1]]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(shifted, axis=-1)
