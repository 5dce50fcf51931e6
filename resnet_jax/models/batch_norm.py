"""Batch normalization whose statistics are computed over groups of a fixed number of images."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


class ChannelVariables(NamedTuple):
    """Parameters and running statistics of a batch norm, each [C] float32."""

    scale: jax.Array
    bias: jax.Array
    mean: nn.Variable  # running mean
    var: nn.Variable  # running variance, unbiased


class BatchNorm(nn.Module):
    """Batch normalization (Ioffe and Szegedy 2015) with statistics over groups of `group_size` images.

    A group consists of consecutive rows of the global batch, not of the rows on one device. The result therefore does
    not depend on the number of devices, and a group that lies on one device needs no collective.

    Attributes:
      train: normalize by the statistics of the batch and update the running statistics. False: normalize by the
        running statistics.
      group_size: images in a group. None, or a size of at least B: the whole batch is one group.
      momentum: weight of the old value in the update of the running statistics.
      epsilon: constant added to the variance.
      dtype: type of the result. Parameters, statistics and arithmetic are float32.
      scale_init: initializer of the scale. Zeros are usual for the last norm of a residual branch (Goyal et al. 2017).
      trained: regular expression, searched in the paths of parameters. If it matches neither the scale nor the bias,
        the norm is frozen: also in training, it normalizes by its running statistics and does not update them.
    """

    train: bool
    group_size: int | None
    momentum: float
    epsilon: float
    dtype: DTypeLike
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    trained: str = ""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalizes [B, H, W, C]. Raises ValueError if `group_size` is less than B and does not divide B."""
        variables = self.channel_variables(x.shape[-1])
        if not self.uses_batch_statistics:
            return self.normalize(x, variables.mean.value, variables.var.value, variables.scale, variables.bias)
        grouped = split_into_groups(x, self.group_size)
        mean, var = group_statistics(grouped)
        self.update_running(variables, mean, var, count=grouped[0].size // grouped.shape[-1])
        return self.normalize(grouped, mean, var, variables.scale, variables.bias).reshape(x.shape)

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether the norm normalizes by the statistics of the batch: true in training, unless the norm is frozen."""
        return self.train and is_trained(self.path, self.trained)

    @nn.compact
    def channel_variables(self, channels: int) -> ChannelVariables:
        """Returns the variables of the norm, each of shape [channels]; creates them when the network is initialized."""
        shape = (channels,)
        return ChannelVariables(
            scale=self.param("scale", self.scale_init, shape, jnp.float32),
            bias=self.param("bias", nn.initializers.zeros, shape, jnp.float32),
            mean=self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32),
            var=self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32),
        )

    def update_running(self, variables: ChannelVariables, mean: jax.Array, var: jax.Array, *, count: int) -> None:
        """Updates the running mean and variance with the statistics of a batch.

        Args:
          variables: the variables of this norm.
          mean: [..., C] float32, the mean of each group and channel.
          var: [..., C] float32, the biased variance of each group and channel.
          count: number of values from which each mean was computed: images per group x H x W.
        """
        for running, new in ((variables.mean, mean), (variables.var, unbiased(var, count))):
            batch = jnp.mean(new.reshape(-1, new.shape[-1]), axis=0)
            running.value = self.momentum * running.value + (1.0 - self.momentum) * batch

    def normalize(self, x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        """Computes (x - mean) / sqrt(var + epsilon) * scale + bias; statistics and parameters broadcast against x."""
        # x * slope + offset takes fewer operations, and moves fewer bytes, than (x - mean) * slope + bias.
        slope = jax.lax.rsqrt(var + self.epsilon) * scale
        offset = bias - mean * slope
        return (x.astype(jnp.float32) * slope + offset).astype(self.dtype)


def is_trained(path: Sequence[str], trained: str) -> bool:
    """Whether `trained` matches the path of the scale or bias of the norm at `path`, e.g. ('stage1_block1', 'bn1')."""
    return any(re.search(trained, "/".join((*path, leaf))) for leaf in ("scale", "bias"))


def group_count(batch_size: int, group_size: int | None) -> int:
    """Returns the number of groups in a batch.

    Raises:
      ValueError: the group size is less than the batch size and does not divide it.
    """
    if group_size is None or batch_size <= group_size:
        return 1
    if batch_size % group_size:
        raise ValueError(
            f"batch norm groups of {group_size} images do not divide a batch of {batch_size}: "
            "set bn_group_size to a divisor of the batch size, or to None for one group"
        )
    return batch_size // group_size


def split_into_groups(x: jax.Array, group_size: int | None) -> jax.Array:
    """Splits a batch into G groups of consecutive images: [B, H, W, C] -> [G, B / G, H, W, C]."""
    return x.reshape(group_count(len(x), group_size), -1, *x.shape[1:])


def group_statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and biased variance per group and channel: [G, N, H, W, C] -> two of [G, 1, 1, 1, C] float32.

    The variance is E[x^2] - E[x]^2, which reads the activations once; E[(x - E[x])^2] would read them twice. If the
    mean is large compared with the standard deviation, rounding can make the difference negative: it is clipped at 0.
    """
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    mean_of_squares = jnp.mean(jnp.square(x), axis=(1, 2, 3), keepdims=True)
    return mean, jnp.maximum(mean_of_squares - jnp.square(mean), 0.0)


def unbiased(var: jax.Array, count: int) -> jax.Array:
    """Applies Bessel's correction to the variance of `count` values; with count = 1 it returns `var` unchanged.

    Like PyTorch, cuDNN and TensorFlow's fused batch norm, `BatchNorm` keeps the unbiased variance as the running one;
    Flax's BatchNorm keeps the biased one. In training all of them normalize by the biased variance.
    """
    return var * (count / max(count - 1, 1))
