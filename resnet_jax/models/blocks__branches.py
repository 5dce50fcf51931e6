"""What may happen to a residual branch before it is added: squeeze and excitation, stochastic depth."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


def squeeze_and_excite(x: jax.Array, *, ratio: float, conv: Callable[..., nn.Module]) -> jax.Array:
    """Scales each channel of [B, H, W, C] by what the means of all channels say (Hu et al. 2018).

    Args:
      x: the branch.
      ratio: width of the squeeze / C, rounded: 1/16 in the paper, 1/4 in ResNet-RS (Bello et al. 2021).
      conv: a convolution but for features, kernel size and stride.
    """
    width = max(1, round(ratio * x.shape[-1]))
    means = jnp.mean(x.astype(jnp.float32), axis=(1, 2), keepdims=True).astype(x.dtype)
    squeezed = nn.relu(conv(width, 1, 1, use_bias=True, name="se_reduce")(means))
    return x * nn.sigmoid(conv(x.shape[-1], 1, 1, use_bias=True, name="se_expand")(squeezed))


def drop_branch(x: jax.Array, uniforms: jax.Array, *, rate: float) -> jax.Array:
    """Stochastic depth (Huang et al. 2016): zero for a share of the images, the others scaled by 1 / (1 - rate).

    Args:
      x: the branch, [B, H, W, C].
      uniforms: [B] in [0, 1); an image loses its branch where it is below `rate`.
      rate: in [0, 1). The expectation is x, so that nothing is to be scaled in evaluation.
    """
    kept = jnp.where(uniforms < rate, 0.0, 1.0 / (1.0 - rate))
    return x * kept.astype(x.dtype)[:, None, None, None]


def drop_rate(number: int, num_blocks: int, last_rate: float) -> float:
    """Rate of block `number`, from 0: linear from 0 at the first to `last_rate` at the last, as timm has it.

    Huang et al. let the first of L blocks have last_rate / L already; ResNet-RS counts stages in place of blocks.
    """
    return last_rate * number / max(1, num_blocks - 1)
