"""Operations whose form depends on the platform; the only file of the models that asks for the platform.

All forms of an operation compute the same function, up to rounding. The figures of each choice, from compiled programs,
are in docs/compiled_programs.md.

| operation | on NVIDIA GPUs (cuda) | on TPUs | on others |
|---|---|---|---|
| gradient of the max-pool (`max_pool.py`) | positions of the maxima | select-and-scatter | positions |
| two sums over the same pixels | one reduction of pairs | two reductions, which XLA fuses | as on TPUs |
| 1x1 convolution with an offset, 16 bits | convolution, 16-bit offset | as on GPUs | product, float32 offset |
| gradients that read a parameter | complete before the parameter is updated | in any order | as on TPUs |
| gradient of a convolution kernel | stored in the layout of the parameter | in any layout | as on TPUs |
| gradient of a 1x1 kernel | also computed in the layout of the parameter | in any layout | as on TPUs |
| input gradient of a 1x1 convolution with a stride | JAX's | zeros inserted after the product | as on GPUs |
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint


def by_platform(*arguments: Any, others: Callable[..., Any], **forms: Callable[..., Any]) -> Any:
    """Calls the function for the platform that the program is compiled for; such a device need not be attached.

    Args:
      *arguments: arrays passed to the function.
      others: function for the platforms that are not named.
      **forms: functions by the name of the platform, `cuda` or `tpu`. All return the same shapes and types.
    """
    return jax.lax.platform_dependent(*arguments, default=others, **forms)


def two_sums(x: jax.Array, y: jax.Array, axes: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Returns the sums of two float32 arrays of the same shape over `axes`; cannot be differentiated."""
    # On a GPU, XLA makes three kernels of two long sums over the same pixels, but two kernels of a reduction of pairs.
    zero = jnp.float32(0)

    def of_pairs(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        return tuple(jax.lax.reduce((x, y), (zero, zero), lambda a, b: (a[0] + b[0], a[1] + b[1]), axes))

    return by_platform(x, y, cuda=of_pairs, others=lambda x, y: (jnp.sum(x, axes), jnp.sum(y, axes)))


def computed_together(*gradients: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the arrays; on NVIDIA GPUs none of them can be used before all of them are computed.

    Without this, if one of them is the gradient of a parameter and another one is computed from this parameter, XLA
    may update the parameter before it computes the other one, and then needs a copy of the old parameter.
    """
    return by_platform(
        *gradients, cuda=lambda *arrays: jax.lax.optimization_barrier(arrays), others=lambda *arrays: arrays
    )


@jax.custom_vjp
def with_ordered_gradient(kernel: jax.Array) -> jax.Array:
    """Returns the kernel of a convolution; its gradient gets the memory layout of the parameter on NVIDIA GPUs.

    cuDNN computes it in the layout OHWI. Without this, XLA copies the parameter and its velocity to it, and the
    updated ones back, for every kernel in every step: four copies in float32 instead of one in the type of the kernel.
    """
    return kernel


def _ordered_forward(kernel: jax.Array) -> tuple[jax.Array, None]:
    return kernel, None


def _ordered_backward(_: None, cotangent: jax.Array) -> tuple[jax.Array]:
    order = Layout(major_to_minor=tuple(range(cotangent.ndim)))
    return (
        by_platform(
            cotangent, cuda=lambda gradient: with_layout_constraint(gradient, order), others=lambda gradient: gradient
        ),
    )


with_ordered_gradient.defvjp(_ordered_forward, _ordered_backward)


def with_direct_gradient(convolution: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    """Returns a 1x1 convolution of stride 1; on NVIDIA GPUs its kernel gradient is computed in the parameter's layout.

    The gradient is the sum over the pixels of the products of each channel of the input x with each channel of the
    cotangent. cuDNN computes it as [F, 1, 1, C], which XLA would transpose to the parameter's layout, [1, 1, C, F].
    With the roles of x and the cotangent exchanged, cuDNN computes it as [C, 1, 1, F], which is that layout.

    Args:
      convolution: maps [B, H, W, C] and [1, 1, C, F] to [B, H, W, F], for any C and F.
    """

    @jax.custom_vjp
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolution(x, kernel)

    def forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        return convolution(x, kernel), (x, kernel)

    def direct(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
        swapped = jax.ShapeDtypeStruct((1, 1, kernel.shape[3], kernel.shape[2]), kernel.dtype)
        (gradient,) = jax.linear_transpose(lambda other: convolution(cotangent, other), swapped)(x)
        return jnp.swapaxes(gradient, 2, 3)

    def derived(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
        (gradient,) = jax.linear_transpose(lambda other: convolution(x, other), kernel)(cotangent)
        return gradient

    def backward(residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, kernel = residuals
        (of_x,) = jax.linear_transpose(lambda other: convolution(other, kernel), x)(cotangent)
        return of_x, by_platform(x, kernel, cotangent, cuda=direct, others=derived)

    convolve.defvjp(forward, backward)
    return convolve
