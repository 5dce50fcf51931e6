"""The statistics of a 1x1 convolution's result, found without it.

The product y = x W is linear in x: its mean is mean(x) W, and its variances stand on the diagonal of W^T cov(x) W. In a
bottleneck block x has a quarter of the channels of y, and its covariance takes a quarter of the arithmetic of the
convolution. What that saves is memory: y, the widest activation there is, need not be stored nor read again, here or,
as the gradients of these functions show, on the way back.
"""

import jax
import jax.numpy as jnp
from jax.lax import Precision


def channel_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean of each channel and the covariances of all: [B, H, W, K] -> [K], [K, K], float32."""
    mean = jnp.mean(x.astype(jnp.float32), axis=(0, 1, 2))
    return mean, _gram(x) * (x.shape[-1] / x.size) - jnp.outer(mean, mean)


def product_mean(mean: jax.Array, kernel: jax.Array) -> jax.Array:
    """The mean of each channel of the convolution with [1, 1, K, C] of what has the mean [K]: [C] float32."""
    return jnp.matmul(mean, kernel[0, 0].astype(jnp.float32), precision=Precision.HIGHEST)


def product_variance(covariance: jax.Array, kernel: jax.Array) -> jax.Array:
    """The (biased) variances of the convolution with [1, 1, K, C] of what has the covariance [K, K]: [C] float32.

    Rounding can push them below zero, as it can with E[y^2] - E[y]^2, hence the clip.
    """
    matrix = kernel[0, 0].astype(jnp.float32)
    return jnp.maximum(jnp.sum(matrix * jnp.matmul(covariance, matrix, precision=Precision.HIGHEST), axis=0), 0.0)


def _gram(x: jax.Array) -> jax.Array:
    """Sums of the products of channels: [B, H, W, K] -> [K, K] float32."""
    # Products of bfloat16 are exact; float32 would be rounded to bfloat16 or TF32 first on accelerators.
    precision = Precision.HIGHEST if x.dtype == jnp.float32 else None
    return jnp.einsum("bhwk,bhwl->kl", x, x, precision=precision, preferred_element_type=jnp.float32)
