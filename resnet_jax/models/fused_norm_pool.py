"""A batch norm and the max-pool after it, computed in the opposite order."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from resnet_jax.models.batch_norm import BatchNorm, group_statistics, split_into_groups


class FusedNormPool(nn.Module):
    """Computes `pool(norm(x))` for a max-pool, normalizing only what the pool keeps.

    Pool before normalizing: the norm is an increasing affine map of each channel, so it commutes with the maximum. A
    pool of stride 2 leaves a quarter of the values to normalize. A channel with a negative scale is a decreasing map;
    it is negated first, together with its mean and scale. The result is bit-identical.

    The statistics are those of x before the pool. The variables belong to `norm`; this module has none.

    Attributes:
      norm: the batch norm.
      pool: the max-pool, [B, H, W, C] -> [B, H', W', C].
    """

    norm: BatchNorm
    pool: Callable[[jax.Array], jax.Array]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H', W', C]. Raises ValueError if groups of batch norm do not divide B."""
        if not self.norm.uses_batch_statistics:
            return self.pool(self.norm(x))
        variables = self.norm.channel_variables(x.shape[-1])
        sign = jax.lax.stop_gradient(jnp.where(variables.scale < 0, -1.0, 1.0))
        x = x * sign.astype(x.dtype)
        grouped = split_into_groups(x, self.norm.group_size)
        mean, var = group_statistics(grouped)
        self.norm.update_running(variables, sign * mean, var, count=grouped[0].size // grouped.shape[-1])
        pooled = self.pool(x)
        grouped = split_into_groups(pooled, self.norm.group_size)
        return self.norm.normalize(grouped, mean, var, sign * variables.scale, variables.bias).reshape(pooled.shape)
