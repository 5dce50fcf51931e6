"""A 1x1 convolution with a stride, whose input gradient is computed only at the pixels that the convolution reads.

Only every `stride`-th pixel of the input has a gradient that is not zero. JAX's derivative is a convolution of the
cotangent with zeros between its pixels. TPUs multiply these zeros, too: for them, the cotangent is multiplied with the
kernel first, and the zeros are inserted into the product. On an H100 this moves 1.5 MB an image more, so GPUs and CPUs
compute what JAX derives.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from resnet_jax.models.platforms import by_platform

Convolution = Callable[[jax.Array, jax.Array], jax.Array]  # [B, H, W, C], [1, 1, C, F] -> [B, H', W', F]


def with_subsampled_gradient(convolution: Convolution, dense: Convolution, *, stride: int) -> Convolution:
    """Returns a convolution of the same values and gradients, up to rounding.

    Args:
      convolution: a 1x1 convolution without padding, with this stride along height and width.
      dense: the same convolution with stride 1.
      stride: an integer above 1.
    """

    @jax.custom_vjp
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolution(x, kernel)

    def forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        return convolution(x, kernel), (x, kernel)

    def backward(residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, kernel = residuals
        (of_kernel,) = jax.linear_transpose(lambda other: convolution(x, other), kernel)(cotangent)

        def subsampled(kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
            read = jax.ShapeDtypeStruct((*cotangent.shape[:3], x.shape[3]), x.dtype)
            (of_read,) = jax.linear_transpose(lambda pixels: dense(pixels, kernel), read)(cotangent)
            return _spread(of_read, x.shape, stride)

        def derived(kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
            (of_x,) = jax.linear_transpose(lambda other: convolution(other, kernel), x)(cotangent)
            return of_x

        return by_platform(kernel, cotangent, tpu=subsampled, others=derived), of_kernel

    convolve.defvjp(forward, backward)
    return convolve


def _spread(pixels: jax.Array, shape: tuple[int, ...], stride: int) -> jax.Array:
    """Places [B, H', W', C] at every `stride`-th row and column of zeros of the given shape [B, H, W, C]."""
    ends = (size - (stride * (count - 1) + 1) for size, count in zip(shape[1:3], pixels.shape[1:3], strict=True))
    rows_and_columns = [(0, end, stride - 1) for end in ends]
    return jax.lax.pad(pixels, jnp.zeros((), pixels.dtype), [(0, 0, 0), *rows_and_columns, (0, 0, 0)])
