"""A 1x1 convolution and the batch norm after it, computed as one convolution.

A bottleneck block ends in a 1x1 convolution y = x W, which widens K channels to C = 4 K, and a norm of y. y is the
widest activation of the network. The plain form writes it, reads it to compute the statistics, reads it again to
normalize it, and keeps it for the backward pass. The fused form never stores it.

Statistics. The convolution is linear, so the statistics of y follow from those of x, which has fewer channels:

    mean(y)  = mean(x) W                              [C]
    var(y_c) = (W^T cov(x) W)_cc                      [C]
    cov(x)   = E[x x^T] - mean(x) mean(x)^T           [K, K], a quarter of the arithmetic of the convolution

Result. With slope = scale / sqrt(var(y) + epsilon), the norm of y is one convolution with a scaled kernel:

    norm(y) = (y - mean(y)) * slope + bias = x (W slope) + (bias - mean(x) (W slope))

XLA fuses the addition of the offset, of the shortcut and the ReLU into the output of this convolution, so that a block
writes its output only.

Gradient. Automatic differentiation of these formulas keeps x and W, and no array of the size of y.

Rounding. The device rounds the scaled kernel W slope, so mean(x) is multiplied by the rounded kernel too. Otherwise the
rounding error of the kernel, multiplied by mean(x), would remain as an error of the mean of every channel.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision
from jax.typing import DTypeLike

from resnet_jax.models.batch_norm import BatchNorm, group_count
from resnet_jax.models.layers import PointwiseConv, pointwise_convolution


class FusedConvNorm(nn.Module):
    """Computes `norm(conv(x))` without storing the result of the convolution.

    The fused form multiplies the factors of the norm into the kernel of the convolution (see the docstring of this
    file). It is used if the whole batch is normalized by its own statistics, as one group. Otherwise `conv` and `norm`
    are applied one after the other: with running statistics, and with several groups, whose statistics differ.

    The shortcut and the ReLU at the end of a block are not part of this module: squeeze-and-excitation and stochastic
    depth scale the normalized branch before the shortcut is added, and a projection shortcut is a convolution and a
    norm without a ReLU. XLA fuses the addition and the ReLU wherever they are written.

    The variables belong to `conv` and `norm`, under the paths of these two modules; this module has no variables.

    Attributes:
      conv: the 1x1 convolution.
      norm: the batch norm applied to its output, of the same dtype as the convolution.
    """

    conv: PointwiseConv
    norm: BatchNorm

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, K] to [B, H, W, C]. Raises ValueError if `norm.group_size` < B does not divide B."""
        if not self.norm.uses_batch_statistics or group_count(len(x), self.norm.group_size) > 1:
            return self.norm(self.conv(x))
        return self._fused(x)

    def _fused(self, x: jax.Array) -> jax.Array:
        kernel = self.conv.kernel_parameter(x.shape[-1])
        variables = self.norm.channel_variables(kernel.shape[-1])
        mean, covariance = channel_moments(x)
        var = output_variance(covariance, kernel)
        self.norm.update_running(variables, output_mean(mean, kernel), var, count=x.size // x.shape[-1])
        kernel = kernel * jax.lax.rsqrt(var + self.norm.epsilon) * variables.scale
        dtype = self.norm.dtype
        output = pointwise_convolution(x.astype(dtype), kernel, exact_products(dtype)).astype(jnp.float32)
        offset = variables.bias - output_mean(mean, rounded(kernel, dtype))
        return (output + offset).astype(dtype)


def channel_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean per channel [K] and the covariance between channels [K, K] of x [B, H, W, K], in float32."""
    mean = jnp.mean(x.astype(jnp.float32), axis=(0, 1, 2))
    return mean, _gram(x) * (x.shape[-1] / x.size) - jnp.outer(mean, mean)


def output_mean(mean: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the mean of each output channel of a 1x1 convolution, from the means of its input.

    Args:
      mean: [K] float32, mean per input channel.
      kernel: [1, 1, K, C].

    Returns:
      [C] float32.
    """
    return jnp.matmul(mean, kernel[0, 0].astype(jnp.float32), precision=Precision.HIGHEST)


def output_variance(covariance: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the biased variance of each output channel of a 1x1 convolution, from the covariance of its input.

    Rounding can make the computed variance negative, so it is clipped at zero.

    Args:
      covariance: [K, K] float32, covariance between input channels.
      kernel: [1, 1, K, C].

    Returns:
      [C] float32.
    """
    matrix = kernel[0, 0].astype(jnp.float32)
    return jnp.maximum(jnp.sum(matrix * jnp.matmul(covariance, matrix, precision=Precision.HIGHEST), axis=0), 0.0)


def exact_products(dtype: DTypeLike) -> Precision | None:
    """Returns the precision at which a device does not round the inputs of a matrix product of type `dtype`.

    By default TPUs round float32 inputs to bfloat16, and NVIDIA GPUs round them to TF32. The statistics would then be
    computed from x, but the convolution from rounded x: the norm would subtract a mean that is not the mean of the
    output of the convolution. 16-bit inputs are never rounded, so for them the default, None, is returned.
    """
    return Precision.HIGHEST if dtype == jnp.float32 else None


def rounded(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Rounds float32 values to the mantissa of `dtype`, and returns float32. The gradient is that of the identity."""
    # Keeps the exponent range of float32. Values that are subnormal in float16 must not become zero here: the
    # convolution does not flush them to zero, and the mean must be that of its output.
    error = jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=jnp.finfo(dtype).nmant) - x
    return x + jax.lax.stop_gradient(error)


def _gram(x: jax.Array) -> jax.Array:
    """Returns the Gram matrix of the channels, sum of x_k x_l over all pixels: [B, H, W, K] -> [K, K] float32."""
    return jnp.einsum("bhwk,bhwl->kl", x, x, precision=exact_products(x.dtype), preferred_element_type=jnp.float32)
