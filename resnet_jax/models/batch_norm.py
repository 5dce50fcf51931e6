"""Batch normalisation over groups of a fixed number of images."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from resnet_jax.models.fused_conv_norm import channel_moments, product_mean, product_variance
from resnet_jax.models.layers import pointwise_convolution


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
    def __call__(
        self, x: jax.Array, *, kernel: jax.Array | None = None, pool: Callable[[jax.Array], jax.Array] | None = None
    ) -> jax.Array:
        """Normalises [B, H, W, C].

        Args:
          x: what is normalised, or what it is made of.
          kernel: [1, 1, K, C]; then x is [B, H, W, K], and its convolution with that is normalised.
          pool: a max-pool, taken of the result.

        Raises:
          ValueError: the group size does not divide a larger B.
        """
        own = self._variables(x.shape[-1] if kernel is None else kernel.shape[-1])
        moving = self.train and moves(self.path, self.trained)
        if moving and kernel is not None and group_count(len(x), self.group_size) == 1:
            x = self._normalize_product(x, kernel, own)
        else:
            x = x if kernel is None else pointwise_convolution(x.astype(self.dtype), kernel)
            if moving:
                return self._normalize_groups(x, own, pool)
            x = self._apply(x, own.mean.value, own.var.value, own.scale, own.bias)
        return x if pool is None else pool(x)

    def _variables(self, channels: int) -> "_Variables":
        shape = (channels,)
        return _Variables(
            scale=self.param("scale", self.scale_init, shape, jnp.float32),
            bias=self.param("bias", nn.initializers.zeros, shape, jnp.float32),
            mean=self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32),
            var=self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32),
        )

    def _normalize_groups(
        self, x: jax.Array, own: "_Variables", pool: Callable[[jax.Array], jax.Array] | None
    ) -> jax.Array:
        """Where there is a pool, it comes first: a norm keeps the order of what is large, and a pool leaves less.

        It turns the order round where its scale is negative: there x is negated, which changes no bit of the result.
        """
        scale, groups = own.scale, group_count(len(x), self.group_size)
        sign = jnp.ones_like(scale)
        if pool is not None:
            sign = jax.lax.stop_gradient(jnp.where(scale < 0, -1.0, 1.0))
            x = x * sign.astype(x.dtype)
        grouped = x.reshape(groups, -1, *x.shape[1:])
        mean, var = group_statistics(grouped)
        self._update(own, sign * mean, var, count=grouped[0].size // grouped.shape[-1])
        if pool is not None:
            x = pool(x)
            grouped = x.reshape(groups, -1, *x.shape[1:])
        return self._apply(grouped, mean, var, sign * scale, own.bias).reshape(x.shape)

    def _normalize_product(self, x: jax.Array, kernel: jax.Array, own: "_Variables") -> jax.Array:
        """The scale goes into the kernel: the product itself is needed neither here nor for the gradient."""
        mean, covariance = channel_moments(x)
        var = product_variance(covariance, kernel)
        self._update(own, product_mean(mean, kernel), var, count=x.size // x.shape[-1])
        kernel = kernel * jax.lax.rsqrt(var + self.epsilon) * own.scale
        product = pointwise_convolution(x.astype(self.dtype), kernel).astype(jnp.float32)
        # The mean that the kernel has after rounding, so that nothing of it is left in the result.
        return (product + (own.bias - product_mean(mean, _rounded(kernel, self.dtype)))).astype(self.dtype)

    def _update(self, own: "_Variables", mean: jax.Array, var: jax.Array, *, count: int) -> None:
        """Moves the running statistics towards those of groups [..., C], each over `count` values a channel."""
        for running, new in ((own.mean, mean), (own.var, unbiased(var, count))):
            batch = jnp.mean(new.reshape(-1, new.shape[-1]), axis=0)
            running.value = self.momentum * running.value + (1.0 - self.momentum) * batch

    def _apply(self, x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        # One multiplication and one addition an element: fewer bytes move than with (x - mean) * slope + bias.
        slope = jax.lax.rsqrt(var + self.epsilon) * scale
        offset = bias - mean * slope
        return (x.astype(jnp.float32) * slope + offset).astype(self.dtype)


def _rounded(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """float32 with the precision of `dtype`; its gradient is not rounded."""
    # The exponent stays float32's: else numbers that are small for float16 would become zero, which its own do not.
    rounding = jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=jnp.finfo(dtype).nmant) - x
    return x + jax.lax.stop_gradient(rounding)


class _Variables(NamedTuple):
    """Those of a batch norm, each of a value a channel, float32."""

    scale: jax.Array
    bias: jax.Array
    mean: nn.Variable
    var: nn.Variable


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


def unbiased(var: jax.Array, count: int) -> jax.Array:
    """What the running variance takes: that of `count` values, with Bessel's correction.

    As PyTorch, cuDNN and TensorFlow's fused batch norm (that of r1) do it; Flax's own keeps the biased one. Images
    are normalised by the biased one everywhere. A group of a single value is left as it is, as in TensorFlow.
    """
    return var * (count / max(count - 1, 1))
