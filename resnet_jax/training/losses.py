"""Classification losses, one value for each example."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.errors import UsageError

Loss = Callable[[jax.Array, jax.Array], jax.Array]  # logits [B, K], targets [B, K] -> losses [B] float32


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross entropy of each example in nats, without label smoothing: the loss of every evaluation.

    Args:
      logits: [B, K] of any float dtype; the loss is computed in float32.
      labels: [B] integers in 0..K-1, or `UNREADABLE` for an image that cannot be decoded, whose loss is log K.

    Returns:
      [B] float32.
    """
    losses = softmax_cross_entropy(logits, jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing=0.0)
    return jnp.where(labels == UNREADABLE, jnp.log(jnp.float32(logits.shape[-1])), losses)


def softmax_cross_entropy(logits: jax.Array, targets: jax.Array, *, label_smoothing: float) -> jax.Array:
    """Cross entropy between soft targets and the softmax of the logits, in nats.

    Args:
      logits: [B, K] of any float dtype; the loss is computed in float32.
      targets: [B, K] probabilities; each row sums to 1.
      label_smoothing: probability spread evenly over all K classes (Szegedy et al. 2016, section 7).

    Returns:
      [B] float32.
    """
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), optax.smooth_labels(targets, label_smoothing))


def binary_cross_entropy(
    logits: jax.Array, targets: jax.Array, *, label_smoothing: float, target_threshold: float | None
) -> jax.Array:
    """Mean over the classes of the sigmoid cross entropy of each class (Wightman et al. 2021, section 3; timm).

    Args:
      logits: [B, K] of any float dtype; the loss is computed in float32.
      targets: [B, K] in 0..1.
      label_smoothing: see `softmax_cross_entropy`.
      target_threshold: after label smoothing, targets above this value become 1, the rest 0; None: targets stay soft.

    Returns:
      [B] float32.
    """
    targets = optax.smooth_labels(targets, label_smoothing)
    if target_threshold is not None:
        targets = (targets > target_threshold).astype(jnp.float32)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), targets), axis=-1)


def create_loss(
    name: str = "cross_entropy", *, label_smoothing: float = 0.1, target_threshold: float | None = None
) -> Loss:
    """Returns a training loss by name. The defaults are those of `configs/resnet50.py`.

    Args:
      name: 'cross_entropy' or 'binary_cross_entropy'.
      label_smoothing: see `softmax_cross_entropy`.
      target_threshold: see `binary_cross_entropy`.

    Raises:
      UsageError: the name is unknown, or a threshold is given for 'cross_entropy'.
    """
    if name == "cross_entropy":
        if target_threshold is not None:
            raise UsageError(
                f"config.loss.target_threshold={target_threshold} has no meaning for 'cross_entropy': leave it unset, "
                "or set config.loss.name='binary_cross_entropy'"
            )
        return functools.partial(softmax_cross_entropy, label_smoothing=label_smoothing)
    if name == "binary_cross_entropy":
        return functools.partial(
            binary_cross_entropy, label_smoothing=label_smoothing, target_threshold=target_threshold
        )
    raise UsageError(f"config.loss.name={name!r} is not one of cross_entropy, binary_cross_entropy")


def soft_targets(labels: jax.Array, partners: jax.Array, share: jax.Array, num_classes: int) -> jax.Array:
    """Returns the targets of mixed images: `share` for the label, 1 - `share` for the partner's label.

    Args:
      labels: [B] integers.
      partners: [B] integers, labels of the images mixed in.
      share: [B] float32 in 0..1.
      num_classes: K, the number of classes.

    Returns:
      [B, K] float32.
    """
    own, other = jax.nn.one_hot(labels, num_classes), jax.nn.one_hot(partners, num_classes)
    return share[:, None] * own + (1.0 - share[:, None]) * other
