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
