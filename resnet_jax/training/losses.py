"""Losses of single examples."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.errors import UsageError

Loss = Callable[[jax.Array, jax.Array], jax.Array]  # logits [B, K], shares of the classes [B, K] -> [B] float32


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross entropy of each example, in nats: the loss of every evaluation.

    Args:
      logits: [B, K]; computed in float32 whatever comes in.
      labels: [B] integers in 0..K-1; against `UNREADABLE` the loss is log K, that of a guess.

    Returns:
      [B] float32.
    """
    losses = softmax_cross_entropy(logits, jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing=0.0)
    return jnp.where(labels == UNREADABLE, jnp.log(jnp.float32(logits.shape[-1])), losses)


def softmax_cross_entropy(logits: jax.Array, shares: jax.Array, *, label_smoothing: float) -> jax.Array:
    """Cross entropy between the shares of the classes and the softmax of the logits, in nats.

    Args:
      logits: [B, K]; computed in float32 whatever comes in.
      shares: [B, K], each row of sum 1.
      label_smoothing: part of the shares spread evenly over all K classes (Szegedy et al. 2016, section 7).

    Returns:
      [B] float32.
    """
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), optax.smooth_labels(shares, label_smoothing))


def binary_cross_entropy(
    logits: jax.Array, shares: jax.Array, *, label_smoothing: float, target_threshold: float | None
) -> jax.Array:
    """The mean over the classes of their sigmoid cross entropies (Wightman et al. 2021, section 3; timm).

    Args:
      logits: [B, K]; computed in float32 whatever comes in.
      shares: [B, K].
      label_smoothing: as in `softmax_cross_entropy`.
      target_threshold: classes of which more than this is there count as wholly there, others as absent.

    Returns:
      [B] float32.
    """
    targets = optax.smooth_labels(shares, label_smoothing)
    if target_threshold is not None:
        targets = (targets > target_threshold).astype(jnp.float32)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), targets), axis=-1)


def create_loss(name: str, *, label_smoothing: float, target_threshold: float | None) -> Loss:
    """Makes a training loss by name.

    Raises:
      UsageError: no such loss, or a threshold for one that has none.
    """
    if name == "cross_entropy":
        if target_threshold is not None:
            raise UsageError("config.loss.target_threshold is for config.loss.name='binary_cross_entropy' alone")
        return functools.partial(softmax_cross_entropy, label_smoothing=label_smoothing)
    if name == "binary_cross_entropy":
        return functools.partial(
            binary_cross_entropy, label_smoothing=label_smoothing, target_threshold=target_threshold
        )
    raise UsageError(f"config.loss.name={name!r} is not one of cross_entropy, binary_cross_entropy")


def soft_targets(labels: jax.Array, partners: jax.Array, share: jax.Array, num_classes: int) -> jax.Array:
    """What is seen of each class in images that show two. [B] int, [B] int, [B] float -> [B, K] float32."""
    own, other = jax.nn.one_hot(labels, num_classes), jax.nn.one_hot(partners, num_classes)
    return share[:, None] * own + (1.0 - share[:, None]) * other
