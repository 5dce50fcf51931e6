"""Convolutions, and initializers of kernels and of the linear head."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from resnet_jax.models.small_images import convolve


def convolution(features: int, kernel_size: int, stride: int, *, blur: bool = False, **options: Any) -> nn.Conv:
    """Returns a convolution without bias whose input is padded equally on all four sides.

    Flax's 'SAME', which pads the input of a strided convolution unevenly, is not used. Its result would differ at the
    borders from that of PyTorch and of the r1.x ResNet of the TensorFlow Models repository, and on GPUs it
    would cost an extra pass over the activations.

    Args:
      features: output channels.
      kernel_size: height and width of the kernel, odd.
      stride: stride along height and width.
      blur: apply `low_pass` to the input if the stride is greater than 1.
      **options: further attributes of `nn.Conv`; `use_bias=True` adds a bias.
    """
    pad = (kernel_size - 1) // 2
    conv_class = _BlurredConv if blur and stride > 1 else nn.Conv
    return conv_class(
        features,
        (kernel_size, kernel_size),
        strides=stride,
        padding=((pad, pad), (pad, pad)),
        conv_general_dilated=convolve,
        **({"use_bias": False} | options),
    )


class PointwiseConv(nn.Module):
    """A 1x1 convolution of stride 1, without bias, whose kernel can be read without calling the convolution.

    The kernel has the name, shape and initial values that `convolution(features, 1, 1)` gives it.

    Attributes:
      features: output channels.
      dtype: type of the arithmetic and of the result.
      kernel_init: initializer of the kernel.
    """

    features: int
    dtype: DTypeLike
    kernel_init: Initializer

    @nn.compact
    def kernel_parameter(self, channels: int) -> jax.Array:
        """Returns the kernel for an input of `channels` channels: [1, 1, channels, features] float32."""
        return self.param("kernel", self.kernel_init, (1, 1, channels, self.features), jnp.float32)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, K] to [B, H, W, features]."""
        return pointwise_convolution(x.astype(self.dtype), self.kernel_parameter(x.shape[-1]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def pointwise_convolution(x: jax.Array, kernel: jax.Array, precision: Precision | None = None) -> jax.Array:
    """Computes a 1x1 convolution with a float32 kernel that is rounded to the type of `x`.

    The gradient of the kernel is returned in float32, in which it is accumulated. Automatic differentiation of
    `kernel.astype(x.dtype)` would round it to the type of `x`.

    Args:
      x: [B, H, W, K], input.
      kernel: [1, 1, K, C] float32.
      precision: precision of the matrix products, forward and backward; None is the default of the device.

    Returns:
      [B, H, W, C], of the type of `x`.
    """
    return jnp.einsum("bhwk,kc->bhwc", x, kernel[0, 0].astype(x.dtype), precision=precision)


def _pointwise_forward(
    x: jax.Array, kernel: jax.Array, precision: Precision | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return pointwise_convolution(x, kernel, precision), (x, kernel)


def _pointwise_backward(
    precision: Precision | None, residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    x_gradient = jnp.einsum("bhwc,kc->bhwk", cotangent, kernel[0, 0].astype(x.dtype), precision=precision)
    kernel_gradient = jnp.einsum("bhwk,bhwc->kc", x, cotangent, precision=precision, preferred_element_type=jnp.float32)
    return x_gradient, kernel_gradient[None, None]


pointwise_convolution.defvjp(_pointwise_forward, _pointwise_backward)


class _BlurredConv(nn.Conv):
    """A convolution whose input is low-pass filtered first, as `BlurPoolConv2d` of FFCV's and Composer's ResNet-50."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(low_pass(x))


def low_pass(x: jax.Array) -> jax.Array:
    """Filters each channel of [B, H, W, C] with [1, 2, 1] x [1, 2, 1] / 16 (Zhang 2019), zero-padded; same shape."""
    return _smooth(_smooth(x.astype(jnp.float32), axis=1), axis=2).astype(x.dtype)


def _smooth(x: jax.Array, *, axis: int) -> jax.Array:
    """Filters one axis with [1, 2, 1] / 4 by shifts and additions, which XLA fuses, unlike a depthwise convolution."""
    size = x.shape[axis]
    padded = jnp.pad(x, [(1, 1) if number == axis else (0, 0) for number in range(x.ndim)])
    before, center, after = (jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3))
    return 0.25 * before + 0.5 * center + 0.25 * after


# Initializers of convolution kernels of k x k pixels, by name.
KERNEL_INITS: dict[str, Initializer] = {
    # He et al. 2015 (Delving Deep into Rectifiers): normal with variance 2 / (k * k * output channels).
    "he": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    # `tf.compat.v1.variance_scaling_initializer()`, which the r1.x ResNet of the TensorFlow Models repository
    # uses: variance 1 / (k * k * input channels), normal truncated at two standard deviations.
    "lecun": nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
}

HeadInit = Callable[..., jax.Array]  # (key, shape, dtype) -> array


def _uniform_by_inputs(inputs: int) -> HeadInit:
    """Returns an initializer, uniform between -1 / sqrt(inputs) and 1 / sqrt(inputs), as in `torch.nn.Linear`."""
    bound = inputs**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


# Name -> function from the number of inputs of the linear head to (initializer of its kernel, initializer of its bias).
HEAD_INITS: dict[str, Callable[[int], tuple[HeadInit, HeadInit]]] = {
    "normal": lambda _: (nn.initializers.normal(0.01), nn.initializers.zeros),  # Goyal et al. 2017, section 5.1
    # The default of `tf.layers.dense`, used by the r1.x ResNet of the TensorFlow Models repository.
    "glorot_uniform": lambda _: (nn.initializers.glorot_uniform(), nn.initializers.zeros),
    "torch": lambda inputs: (_uniform_by_inputs(inputs),) * 2,
    "zeros": lambda _: (nn.initializers.zeros,) * 2,
}
