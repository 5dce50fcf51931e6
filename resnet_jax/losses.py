"""Losses of single examples."""

import jax
import jax.numpy as jnp
import optax

from resnet_jax.batch import UNREADABLE


def cross_entropy(logits: jax.Array, labels: jax.Array, *, label_smoothing: float = 0.0) -> jax.Array:
    """Softmax cross entropy of each example, in nats.

    Args:
      logits: [B, K]; computed in float32 whatever comes in.
      labels: [B] integers in 0..K-1; against `UNREADABLE` the loss is log K, that of a guess.
      label_smoothing: share of the target spread evenly over all K classes (Szegedy et al. 2016, section 7).

    Returns:
      [B] float32.
    """
    logits = logits.astype(jnp.float32)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    losses = optax.softmax_cross_entropy(logits, targets)
    return jnp.where(labels == UNREADABLE, jnp.log(jnp.float32(logits.shape[-1])), losses)
