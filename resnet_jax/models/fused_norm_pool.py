"""A batch norm and the max-pool after it, computed as the max-pool followed by the norm."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from resnet_jax.models.batch_norm import BatchNorm, group_statistics, split_into_groups


class FusedNormPool(nn.Module):
    """Computes `pool(norm(x))` for a max-pool as the norm of `pool(x)`, which has a quarter of the values.

    The order does not matter for a positive scale: the norm is then an increasing function of each channel, so it
    commutes with the maximum. A channel with a negative scale is negated before the pool, together with its mean and
    scale. The result is bit-identical to that of norm and pool in the usual order.

    The statistics are computed from x before the pool. The variables belong to `norm`; this module has no variables.

    Attributes:
      norm: the batch norm.
      pool: the max-pool, [B, H, W, C] -> [B, H', W', C].
    """

    norm: BatchNorm
    pool: Callable[[jax.Array], jax.Array]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H', W', C]. Raises ValueError if `norm.group_size` < B does not divide B."""
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
