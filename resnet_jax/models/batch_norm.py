"""Batch normalisation over groups of a fixed number of images."""

import re
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


class BatchNorm(nn.Module):
    """Batch norm (Ioffe and Szegedy 2015) whose statistics come from groups of `group_size` images.

    The groups are runs of consecutive rows of the global batch, never "what one device holds": the device
    count does not change the result, and where a whole group lies on one device no collective is needed.

    Attributes:
      train: use the statistics of the batch, and update the running ones; else use the running ones.
      group_size: images in a group. None, or no fewer than the batch has: the batch is one group.
      momentum: weight of the old value in the running statistics.
      epsilon: added to the variance.
      dtype: of the result. Parameters, statistics and the arithmetic are float32.
      scale_init: initialiser of the scale; zeros for the last norm of a residual branch (Goyal et al. 2017).
      trained: regular expression searched in parameter paths. Where it finds neither the scale nor the bias, the
        running statistics are used and kept in training, too; see `moves`.
    """

    train: bool
    group_size: int | None
    momentum: float
    epsilon: float
    dtype: DTypeLike
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    trained: str = ""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises [B, H, W, C]. Raises ValueError if the group size does not divide a larger B."""
        channels = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        if not (self.train and moves(self.path, self.trained)):
            return self._apply(x, running_mean.value, running_var.value, scale, bias)
        groups = group_count(x.shape[0], self.group_size)
        grouped = x.reshape(groups, -1, *x.shape[1:])
        mean, var = group_statistics(grouped)
        running_mean.value = self._running(running_mean.value, mean)
        running_var.value = self._running(running_var.value, unbiased(var, grouped.shape))
        return self._apply(grouped, mean, var, scale, bias).reshape(x.shape)

    def _running(self, old: jax.Array, grouped: jax.Array) -> jax.Array:
        return self.momentum * old + (1.0 - self.momentum) * jnp.mean(grouped, axis=(0, 1, 2, 3))

    def _apply(self, x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        # One multiplication and one addition an element: fewer bytes move than with (x - mean) * slope + bias.
        slope = jax.lax.rsqrt(var + self.epsilon) * scale
        offset = bias - mean * slope
        return (x.astype(jnp.float32) * slope + offset).astype(self.dtype)


def moves(path: Sequence[str], trained: str) -> bool:
    """Whether training moves the statistics of a norm, as ('stage1_block1', 'bn1'): its scale or bias is trained."""
    return any(re.search(trained, "/".join((*path, leaf))) for leaf in ("scale", "bias"))


def group_count(batch_size: int, group_size: int | None) -> int:
    """Number of groups in a batch. Raises ValueError if the group size does not divide a larger batch."""
    if group_size is None or batch_size <= group_size:
        return 1
    if batch_size % group_size:
        raise ValueError(f"batch norm groups of {group_size} images do not divide a batch of {batch_size}")
    return batch_size // group_size


def group_statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and (biased) variance of each group and channel. [G, N, H, W, C] -> two of [G, 1, 1, 1, C] float32.

    E[x^2] - E[x]^2 needs one pass over the activations where the two-pass form needs two; rounding can push it
    below zero when the mean is large against the deviation, hence the clip.
    """
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    mean_of_squares = jnp.mean(jnp.square(x), axis=(1, 2, 3), keepdims=True)
    return mean, jnp.maximum(mean_of_squares - jnp.square(mean), 0.0)


def unbiased(var: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """What the running variance takes: that of a group of shape [G, N, H, W, C], with Bessel's correction.

    As PyTorch, cuDNN and TensorFlow's fused batch norm (that of r1) do it; Flax's own keeps the biased one. Images
    are normalised by the biased one everywhere. A group of a single value is left as it is, as in TensorFlow.
    """
    count = shape[1] * shape[2] * shape[3]
    return var * (count / max(count - 1, 1))
