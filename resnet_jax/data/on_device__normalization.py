"""From uint8 pixels to network input, on device: the one place for train, eval, predict and export."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def normalize(images: jax.Array, *, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike) -> jax.Array:
    """Returns (images - mean) / std, computed in float32. [B, H, W, 3] uint8 -> [B, H, W, 3] `dtype`.

    Args:
      images: pixel values 0..255.
      mean: per channel, in the units of the pixels.
      std: per channel, in the units of the pixels.
      dtype: of the result.
    """
    scale = 1.0 / jnp.asarray(std, jnp.float32)
    return ((images.astype(jnp.float32) - jnp.asarray(mean, jnp.float32)) * scale).astype(dtype)


def standardize_per_image(images: jax.Array, *, dtype: DTypeLike) -> jax.Array:
    """Gives each image mean 0 and deviation 1 over all its values, as `tf.image.per_image_standardization`.

    An image of N values is divided by at least 1 / sqrt(N): a uniform one becomes 0.

    Args:
      images: [B, H, W, 3] uint8.
      dtype: of the result [B, H, W, 3].
    """
    pixels = images.astype(jnp.float32)
    centred = pixels - jnp.mean(pixels, axis=(1, 2, 3), keepdims=True)
    deviation = jnp.sqrt(jnp.mean(jnp.square(centred), axis=(1, 2, 3), keepdims=True))
    return (centred / jnp.maximum(deviation, images[0].size ** -0.5)).astype(dtype)
