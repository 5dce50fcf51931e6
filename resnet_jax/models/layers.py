"""Convolutions as all networks here use them."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer


def convolution(features: int, kernel_size: int, stride: int, *, blur: bool = False, **options: Any) -> nn.Conv:
    """A convolution without bias, padded by the same amount on all sides.

    'SAME' would pad a strided convolution unevenly: other borders than PyTorch's and r1's, and on GPU an extra pass
    over the activations.

    Args:
      features: channels out.
      kernel_size: odd, of both sides.
      stride: of both directions.
      blur: low-pass filter the input of a strided convolution (`low_pass`).
      **options: other attributes of `nn.Conv`; a bias if `use_bias` says so.
    """
    pad = (kernel_size - 1) // 2
    kind = _BlurredConv if blur and stride > 1 else nn.Conv
    return kind(
        features,
        (kernel_size, kernel_size),
        strides=stride,
        padding=((pad, pad), (pad, pad)),
        **({"use_bias": False} | options),
    )


class PointwiseKernel(nn.Module):
    """The parameter of a 1x1 convolution, by the name and with the values that `convolution` gives it.

    Attributes:
      features: channels out.
      kernel_init: of the kernel.
    """

    features: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, channels: int) -> jax.Array:
        """[1, 1, channels, features], float32."""
        return self.param("kernel", self.kernel_init, (1, 1, channels, self.features), jnp.float32)


@jax.custom_vjp
def pointwise_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, H, W, K] with a float32 kernel [1, 1, K, C] that is rounded to the type of the image: [B, H, W, C] of it.

    The gradient of the kernel is float32, as it is summed; that of a kernel which was rounded before would be rounded.
    """
    return jnp.einsum("bhwk,kc->bhwc", x, kernel[0, 0].astype(x.dtype))


def _pointwise_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return pointwise_convolution(x, kernel), (x, kernel)


def _pointwise_backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    of_x = jnp.einsum("bhwc,kc->bhwk", gradient, kernel[0, 0].astype(x.dtype))
    of_kernel = jnp.einsum("bhwk,bhwc->kc", x, gradient, preferred_element_type=jnp.float32)
    return of_x, of_kernel[None, None]


pointwise_convolution.defvjp(_pointwise_forward, _pointwise_backward)


class _BlurredConv(nn.Conv):
    """A convolution of the low-passed input (`BlurPoolConv2d` of FFCV's and Composer's ResNet-50)."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(low_pass(x))


def low_pass(x: jax.Array) -> jax.Array:
    """Each channel of [B, H, W, C] filtered by [1, 2, 1] x [1, 2, 1] / 16 (Zhang 2019), zeros around the image."""
    return _smooth(_smooth(x.astype(jnp.float32), axis=1), axis=2).astype(x.dtype)


def _smooth(x: jax.Array, *, axis: int) -> jax.Array:
    """[1, 2, 1] / 4 along an axis, by shifts and sums, which XLA fuses where it would not a depthwise convolution."""
    size = x.shape[axis]
    padded = jnp.pad(x, [(1, 1) if number == axis else (0, 0) for number in range(x.ndim)])
    before, here, after = (jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3))
    return 0.25 * before + 0.5 * here + 0.25 * after


Init = Callable[..., jax.Array]  # from key, shape and dtype

KERNEL_INITS: dict[str, Initializer] = {
    # He et al. 2015, Delving Deep into Rectifiers: normal with variance 2 / (k * k * channels out).
    "he": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    # r1's `tf.compat.v1.variance_scaling_initializer()`: variance 1 / (k * k * channels in), cut at two deviations.
    "lecun": nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
}


def _uniform_by_inputs(inputs: int) -> Init:
    """Uniform in +-1 / sqrt(inputs), whatever the shape: kernel and bias of `torch.nn.Linear`."""
    bound = inputs**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


# From the number of inputs of the head to the initialisers of its kernel and its bias.
HEAD_INITS: dict[str, Callable[[int], tuple[Init, Init]]] = {
    "normal": lambda _: (nn.initializers.normal(0.01), nn.initializers.zeros),  # Goyal et al. 2017, section 5.1
    "glorot_uniform": lambda _: (nn.initializers.glorot_uniform(), nn.initializers.zeros),  # r1's `tf.layers.dense`
    "torch": lambda inputs: (_uniform_by_inputs(inputs),) * 2,
    "zeros": lambda _: (nn.initializers.zeros,) * 2,
}
