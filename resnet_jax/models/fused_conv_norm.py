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

Groups. Each group of images has statistics of its own, and so its own kernel and offset. With several groups on a
device, the result is a batched product, with one kernel for each group.

XLA fuses the addition of the offset, of the shortcut and the ReLU into the output of the convolution, so that a block
writes its output only. On GPUs this needs one group, and offset and shortcut in the 16-bit type of the activations:
then the whole end of a block is one call of cuDNN.

Gradient. Automatic differentiation of the formulas keeps x and W, and no array of the size of y. The gradients of the
statistics and of the product are written out, since the ones that JAX derives would multiply x by matrices in float32:
x is multiplied by the gradient of E[x x^T], rounded to the type of x, in one convolution.

Rounding. The device rounds the scaled kernel W slope, so mean(x) is multiplied by the rounded kernel too. Otherwise the
rounding error of the kernel, multiplied by mean(x), would remain as an error of the mean of every channel.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision
from jax.typing import DTypeLike

from resnet_jax.models.batch_norm import BatchNorm, split_into_groups
from resnet_jax.models.layers import PointwiseConv
from resnet_jax.models.platforms import by_platform, computed_together, with_ordered_gradient


class FusedConvNorm(nn.Module):
    """Computes `norm(conv(x))` without storing the result of the convolution.

    The fused form multiplies the factors of the norm into the kernel of the convolution (see the docstring of this
    file). It is used if the norm normalizes by the statistics of the batch. With running statistics, `conv` and `norm`
    are applied one after the other.

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
        return self._fused(x) if self.norm.uses_batch_statistics else self.norm(self.conv(x))

    def _fused(self, x: jax.Array) -> jax.Array:
        kernel = with_ordered_gradient(self.conv.kernel_parameter(x.shape[-1]))[0, 0]
        variables = self.norm.channel_variables(kernel.shape[-1])
        grouped = split_into_groups(x.astype(self.norm.dtype), self.norm.group_size)
        mean, covariance = channel_moments(grouped)
        output_mean, var = output_moments(mean, covariance, kernel)
        self.norm.update_running(variables, output_mean, var, count=_pixels(grouped))
        slope = normalizing_slope(var, variables.scale, self.norm.epsilon)
        kernels = kernel * slope[:, None, :]
        offsets = variables.bias - mean_of_product(mean, rounded(kernels, self.norm.dtype))
        return affine_product(grouped, kernels, offsets).reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_vjp
def channel_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean per channel and the covariance between channels of each group.

    The backward pass assumes that the cotangent of the covariance is symmetric, as the one from `output_moments` is.

    Args:
      x: [G, N, H, W, K].

    Returns:
      [G, K] and [G, K, K], both float32.
    """
    mean = jnp.mean(x.astype(jnp.float32), axis=(1, 2, 3))
    gram = jnp.einsum("gnhwk,gnhwl->gkl", x, x, precision=exact_products(x.dtype), preferred_element_type=jnp.float32)
    return mean, gram / _pixels(x) - mean[:, :, None] * mean[:, None, :]


def _moments_forward(x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    mean, covariance = channel_moments(x)
    return (mean, covariance), (x, mean)


def _moments_backward(
    residuals: tuple[jax.Array, jax.Array], cotangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array]:
    """Returns ((x - mean) 2 S + cotangent of the mean) / n; S: cotangent of the covariance, symmetric; n: `_pixels`."""
    x, mean = residuals
    of_mean, of_covariance = cotangents
    matrices = (2 / _pixels(x)) * of_covariance
    # The range of float16 is too small for `matrices`, whose values are divided by the number of pixels.
    wide = x.astype(jnp.float32) if x.dtype == jnp.float16 else x
    # The mean is multiplied by the same rounded matrix as x, see "Rounding" above.
    offsets = of_mean / _pixels(x) - mean_of_product(mean, rounded(matrices, wide.dtype))
    return (_affine(wide, matrices, offsets, exact_products(x.dtype)).astype(x.dtype),)


channel_moments.defvjp(_moments_forward, _moments_backward)


def _pixels(x: jax.Array) -> int:
    """Returns the number of pixels of a group: [G, N, H, W, K] -> N H W."""
    return x[0].size // x.shape[-1]


def mean_of_product(mean: jax.Array, kernels: jax.Array) -> jax.Array:
    """Returns the mean of each output channel of a 1x1 convolution, from the means of its input.

    Args:
      mean: [G, K] float32, mean of each group and input channel.
      kernels: [G, K, C] float32.

    Returns:
      [G, C] float32.
    """
    # Multiplies elementwise and sums: a matrix product would round its inputs, and be a separate kernel on GPUs.
    return jnp.sum(mean[:, :, None] * kernels, axis=1)


@jax.custom_vjp
def output_moments(mean: jax.Array, covariance: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and biased variance of each output channel of a 1x1 convolution, from the moments of its input.

    Rounding can make the computed variance negative, so it is clipped at zero; the gradient is zero there. The gradient
    treats the mean as a constant, because it is used for the running statistics only.

    Args:
      mean: [G, K] float32, mean of each group and input channel.
      covariance: [G, K, K] float32, covariance between input channels in each group. The gradient
        assumes that it is symmetric.
      kernel: [K, C] float32.

    Returns:
      [G, C] and [G, C], both float32.
    """
    return _output_moments_forward(mean, covariance, kernel)[0]


def _output_moments_forward(
    mean: jax.Array, covariance: jax.Array, kernel: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]:
    stacked = jnp.concatenate([covariance, mean[:, None, :]], axis=1)  # [G, K + 1, K], so that one product suffices
    product = jnp.matmul(stacked, kernel, precision=Precision.HIGHEST)
    of_covariance, of_mean = product[:, :-1], product[:, -1]
    var = jnp.maximum(jnp.sum(kernel * of_covariance, axis=1), 0.0)
    return (of_mean, var), (kernel, of_covariance, var)


def _output_moments_backward(
    residuals: tuple[jax.Array, jax.Array, jax.Array], cotangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns cotangents of mean, covariance, kernel: 0, W diag(c) W^T, sum_g 2 cov W diag(c); c: cotangent of var."""
    kernel, product, var = residuals
    weights = jnp.where(var > 0, cotangents[1], 0.0)[:, None, :]
    of_covariance = jnp.matmul(kernel * weights, kernel.T, precision=Precision.HIGHEST)
    of_covariance, of_kernel = computed_together(of_covariance, jnp.sum(2 * product * weights, axis=0))
    return jnp.zeros_like(of_covariance[:, 0]), of_covariance, of_kernel


output_moments.defvjp(_output_moments_forward, _output_moments_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def normalizing_slope(var: jax.Array, scale: jax.Array, epsilon: float) -> jax.Array:
    """Returns scale / sqrt(var + epsilon): [G, C] and [C] -> [G, C].

    Its gradient does not read `scale`, so XLA can update `scale` in place before it computes the gradient of `var`.
    """
    return jax.lax.rsqrt(var + epsilon) * scale


def _slope_forward(var: jax.Array, scale: jax.Array, epsilon: float) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    inverse_std = jax.lax.rsqrt(var + epsilon)
    return inverse_std * scale, (inverse_std, inverse_std * scale)


def _slope_backward(
    _epsilon: float, residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    inverse_std, slope = residuals
    of_var = -0.5 * cotangent * slope * jnp.square(inverse_std)
    return of_var, jnp.sum(cotangent * inverse_std, axis=0)


normalizing_slope.defvjp(_slope_forward, _slope_backward)


@jax.custom_vjp
def affine_product(x: jax.Array, kernels: jax.Array, offsets: jax.Array) -> jax.Array:
    """Computes a 1x1 convolution and adds an offset to each channel, with a kernel and offsets for each group.

    The gradients of kernels and offsets are returned in float32, in which they are accumulated.

    Args:
      x: [G, N, H, W, K].
      kernels: [G, K, C] float32, rounded to the type of `x`.
      offsets: [G, C] float32.

    Returns:
      [G, N, H, W, C], of the type of `x`.
    """
    return _affine(x, kernels, offsets, exact_products(x.dtype))


def _affine_forward(
    x: jax.Array, kernels: jax.Array, offsets: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return affine_product(x, kernels, offsets), (x, kernels)


def _affine_backward(
    residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, kernels = residuals
    precision = exact_products(x.dtype)
    of_x = _product(cotangent, jnp.swapaxes(kernels, 1, 2), precision)
    of_kernels = jnp.einsum("gnhwk,gnhwc->gkc", x, cotangent, precision=precision, preferred_element_type=jnp.float32)
    return of_x, of_kernels, jnp.sum(cotangent.astype(jnp.float32), axis=(1, 2, 3))


affine_product.defvjp(_affine_forward, _affine_backward)


def _affine(x: jax.Array, kernels: jax.Array, offsets: jax.Array, precision: Precision | None) -> jax.Array:
    """Computes `affine_product` at a given precision of the products."""

    def as_product(x: jax.Array, kernels: jax.Array, offsets: jax.Array) -> jax.Array:
        product = _batched_product(x, kernels, precision).astype(jnp.float32)
        return (product + offsets[:, None, None, None]).astype(x.dtype)

    def as_convolution(x: jax.Array, kernels: jax.Array, offsets: jax.Array) -> jax.Array:
        return _convolution(x, kernels) + offsets[:, None, None, None].astype(x.dtype)

    if _is_one_convolution(x):
        return by_platform(x, kernels, offsets, cuda=as_convolution, tpu=as_convolution, others=as_product)
    return as_product(x, kernels, offsets)


def _product(x: jax.Array, kernels: jax.Array, precision: Precision | None) -> jax.Array:
    """Multiplies the channels of each group by a matrix, rounded to the type of `x`: [G, ..., K] -> [G, ..., C]."""
    as_product = functools.partial(_batched_product, precision=precision)
    if _is_one_convolution(x):
        return by_platform(x, kernels, cuda=_convolution, others=as_product)
    return as_product(x, kernels)


def _batched_product(x: jax.Array, kernels: jax.Array, precision: Precision | None) -> jax.Array:
    return jnp.einsum("gnhwk,gkc->gnhwc", x, kernels.astype(x.dtype), precision=precision)


def _is_one_convolution(x: jax.Array) -> bool:
    """Whether a product with x, [G, N, H, W, K], can be one convolution: x must have one group and a 16-bit type."""
    return len(x) == 1 and x.dtype != jnp.float32


def _convolution(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """Convolves one group with its kernel, rounded to the type of `x`: [1, N, H, W, K] -> [1, N, H, W, C]."""
    layouts = ("NHWC", "HWIO", "NHWC")
    kernel = kernels[None].astype(x.dtype)
    return jax.lax.conv_general_dilated(x[0], kernel, (1, 1), "VALID", dimension_numbers=layouts)[None]


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
