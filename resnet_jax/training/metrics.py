"""Classification metrics, kept as sums and counts over examples; the host divides the sums by the count at the end."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.training.scores import NO_ANSWER, Scores


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Totals:
    """Metrics summed over examples: scalar arrays on the devices, Python numbers on the host."""

    count: Any  # int32, number of examples
    top1: Any  # int32, number of examples whose label has the largest logit
    top5: Any  # int32, number of examples whose label is among the five largest logits
    loss: Any  # float32, sum of the losses in nats


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StepTotals:
    """What one training step reports: sums over the examples of its batch, and scalars of the step.

    If loss scaling skips the update of the step, `examples` and `grad_norm` are 0.
    """

    examples: Totals
    grad_norm: Any  # global L2 norm of the gradient of the unscaled loss, before weight decay and clipping
    lr: Any  # learning rate of the update
    loss_scale: Any = None  # `LossScale` after the step; None: the loss is not scaled


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Answers:
    """Labels, predictions and probabilities of a batch: arrays on the devices, numpy arrays on the host."""

    label: Any  # [B] int32, true class or `UNREADABLE`
    predicted: Any  # [B] int32, predicted class or `NO_ANSWER`
    mask: Any  # [B] bool, False for padding rows
    scores: Scores


def label_rank(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns how many classes rank above the true class; 0: the top-1 prediction is correct. [B, K], [B] -> [B] int32.

    Of classes with equal logits the lower index ranks first, as in `argmax` and `top_k`. Classes with a NaN logit rank
    above the true class. If the label is `UNREADABLE`, since the image cannot be decoded, the result is the largest
    int32, so that the image never counts as correct.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    later = jnp.arange(logits.shape[-1])[None, :] >= labels[:, None]
    behind = (logits < own) | ((logits == own) & later)
    rank = logits.shape[-1] - jnp.sum(behind, axis=-1, dtype=jnp.int32)
    return jnp.where(labels == UNREADABLE, jnp.iinfo(jnp.int32).max, rank)


def predicted_class(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the class with the largest logit; [B, K], [B] -> [B] int32.

    If a logit is NaN, or the label is `UNREADABLE` since the image cannot be decoded, the result is `NO_ANSWER`.
    """
    known = (labels != UNREADABLE) & ~jnp.any(jnp.isnan(logits), axis=-1)
    return jnp.where(known, jnp.argmax(logits, axis=-1), NO_ANSWER).astype(jnp.int32)


def count_examples(logits: jax.Array, labels: jax.Array, mask: jax.Array, losses: jax.Array) -> Totals:
    """Sums the metrics of a batch over the rows whose mask is True.

    Args:
      logits: [B, K].
      labels: [B] integers in 0..K-1, or `UNREADABLE`.
      mask: [B] bool, False for padding rows.
      losses: [B] float32, in nats.
    """
    rank = label_rank(logits, labels)
    return Totals(
        count=_count(mask),
        top1=_count(mask & (rank < 1)),
        top5=_count(mask & (rank < 5)),
        loss=jnp.sum(jnp.where(mask, losses, 0.0)),
    )


def _count(marked: jax.Array) -> jax.Array:
    """Returns the number of True values as int32. [B] bool -> scalar."""
    # Summed as float32, exact up to 2^24: XLA all-reduces these counts together with the loss and the gradients, while
    # integers would need an all-reduce of their own.
    return jnp.sum(marked, dtype=jnp.float32).astype(jnp.int32)


def zero() -> Totals:
    """Returns host totals of 0, to which `merge` adds."""
    return Totals(count=0, top1=0, top5=0, loss=0.0)


def merge(totals: Totals, fetched: Totals) -> Totals:
    """Adds totals fetched from the devices to totals on the host, in Python integers and float64."""
    return Totals(
        count=totals.count + int(fetched.count),
        top1=totals.top1 + int(fetched.top1),
        top5=totals.top5 + int(fetched.top5),
        loss=totals.loss + float(fetched.loss),
    )


def scalars(totals: Totals, *, num_classes: int | None = None) -> dict[str, float]:
    """Returns means over examples: `loss` in nats, `top1` and `top5` in 0..1; NaN if there are no examples.

    If the devices are still computing the totals, the call waits for them.

    Args:
      totals: sums over the examples.
      num_classes: number of outputs of the network; None: unknown. `top5` is NaN for five or fewer outputs, which are
        all among the five largest.
    """
    sums = {"loss": totals.loss, "top1": totals.top1, "top5": totals.top5}
    count = int(totals.count)
    means = {name: float(total) / count if count else math.nan for name, total in sums.items()}
    return means if top5_is_meaningful(num_classes) else means | {"top5": math.nan}


def top5_is_meaningful(num_classes: int | None) -> bool:
    """Whether a network of `num_classes` outputs can have a true class that is not among the five largest outputs."""
    return num_classes is None or num_classes > 5
