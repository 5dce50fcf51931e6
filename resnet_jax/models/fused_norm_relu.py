"""A batch norm and the ReLU after it, with a gradient that keeps nothing but the input.

Automatic differentiation keeps the mask of the ReLU, or computes it in a pass of its own. The backward pass below reads
the input x and the cotangent of the result twice, and nothing else: once to sum over the pixels, and once to compute
the gradient of x. With g = cotangent where the result is positive and 0 elsewhere, n pixels in a group, and sums and
means over the pixels of a group (Ioffe and Szegedy 2015, section 3):

    gradient of bias   sum(g)
    gradient of scale  sum(g (x - mean)) / std,  std = sqrt(var + epsilon)
    gradient of x      scale / std (g - mean(g) - (x - mean) / std * gradient of scale / n)
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from resnet_jax.models.batch_norm import BatchNorm, split_into_groups
from resnet_jax.models.platforms import two_sums

_PIXELS = (1, 2, 3)  # axes of the pixels of a group in [G, N, H, W, C]


class FusedNormRelu(nn.Module):
    """Computes `relu(norm(x))`.

    For 16-bit activations that are normalized by the statistics of the batch, the gradient is computed by the formulas
    in the docstring of this file. JAX differentiates if running statistics are used, and in float32, where results stay
    bit-identical to those of earlier versions.

    The variables belong to `norm`; this module has no variables.

    Attributes:
      norm: the batch norm, of the type of its input.
    """

    norm: BatchNorm

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, C]. Raises ValueError if `norm.group_size` < B does not divide B."""
        norm = self.norm
        if not norm.uses_batch_statistics or norm.dtype == jnp.float32:
            return nn.relu(norm(x))
        variables = norm.channel_variables(x.shape[-1])
        grouped = split_into_groups(x.astype(norm.dtype), norm.group_size)
        y, mean, var = _normalize_relu(grouped, variables.scale, variables.bias, norm.epsilon)
        norm.update_running(variables, mean, var, count=grouped[0].size // grouped.shape[-1])
        return y.reshape(x.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalize_relu(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalizes groups by their statistics and applies a ReLU.

    Args:
      x: [G, N, H, W, C].
      scale: [C] float32.
      bias: [C] float32.
      epsilon: constant added to the variance.

    Returns:
      The result, of the shape and type of `x`, and mean and biased variance of each group and channel,
      [G, 1, 1, 1, C] float32, which have no gradient.
    """
    return _forward(x, scale, bias, epsilon)[0]


def _forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple[jax.Array, ...]]:
    mean, var = _statistics(x)
    y = jnp.maximum(_affine(x, mean, jax.lax.rsqrt(var + epsilon) * scale, bias), 0.0)
    return (y.astype(x.dtype), mean, var), (x, mean, var, scale, bias)


def _backward(
    epsilon: float, residuals: tuple[jax.Array, ...], cotangents: tuple[jax.Array, Any, Any]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, mean, var, scale, bias = residuals
    inverse_std = jax.lax.rsqrt(var + epsilon)
    slope = inverse_std * scale
    of_result = jnp.where(_affine(x, mean, slope, bias) > 0, cotangents[0].astype(jnp.float32), 0.0)
    of_bias, of_scale = _sums(of_result, of_result * (x.astype(jnp.float32) - mean))
    of_scale = inverse_std * of_scale
    # The gradient of x (docstring of this file) in the form slope g + a x + b, which takes fewer operations per pixel.
    count = x[0].size // x.shape[-1]
    a = -slope * inverse_std * of_scale / count
    b = -slope * of_bias / count - a * mean
    of_x = slope * of_result + a * x.astype(jnp.float32) + b
    return of_x.astype(x.dtype), jnp.sum(of_scale, axis=(0, *_PIXELS)), jnp.sum(of_bias, axis=(0, *_PIXELS))


_normalize_relu.defvjp(_forward, _backward)


def _affine(x: jax.Array, mean: jax.Array, slope: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns (x - mean) * slope + bias in float32, computed as in `BatchNorm.normalize`."""
    return x.astype(jnp.float32) * slope + (bias - mean * slope)


def _statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes `batch_norm.group_statistics` with one reduction for both sums, which JAX cannot differentiate."""
    x = x.astype(jnp.float32)
    mean, mean_of_squares = (total * (x.shape[-1] / x[0].size) for total in _sums(x, jnp.square(x)))
    return mean, jnp.maximum(mean_of_squares - jnp.square(mean), 0.0)


def _sums(x: jax.Array, y: jax.Array) -> list[jax.Array]:
    """Returns the sums over the pixels of each group: two of [G, N, H, W, C] -> two of [G, 1, 1, 1, C]."""
    return [jnp.expand_dims(total, _PIXELS) for total in two_sums(x, y, _PIXELS)]
