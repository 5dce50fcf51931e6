"""Classification metrics as sums and counts over examples, divided once, on the host."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from resnet_jax.data.batch import UNREADABLE

NO_ANSWER = -1  # predicted class of an unreadable image, or where a logit is NaN


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over examples: scalar arrays on the devices, Python numbers on the host. `merge` adds them."""

    count: Any  # int32, number of examples
    top1: Any  # int32, examples whose label has the largest logit
    top5: Any  # int32, examples whose label is among the five largest logits
    loss: Any  # float32, sum of the losses in nats


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StepTotals:
    """What one training step reports: sums over its batch, and scalars of the step.

    A step that loss scaling skips reports sums over no examples.
    """

    examples: Totals
    grad_norm: Any  # global L2 norm of the loss gradient, before weight decay
    lr: Any  # learning rate of the update
    loss_scale: Any = None  # `LossScale` after the step; None: the loss is not scaled


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Answers:
    """Labels and predictions of a batch: arrays on the devices, numpy arrays on the host."""

    label: Any  # [B] int32, true class or `UNREADABLE`
    predicted: Any  # [B] int32, predicted class or `NO_ANSWER`
    mask: Any  # [B] bool, False for padding rows


def label_rank(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the number of classes ranked above the true one; 0 is a top-1 hit. [B, K], [B] -> [B] int32.

    Equal logits rank by class index, as in `argmax` and `top_k`. A NaN logit ranks above every label, and an unreadable
    image has the largest rank, so that neither ever counts as correct.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    later = jnp.arange(logits.shape[-1])[None, :] >= labels[:, None]
    behind = (logits < own) | ((logits == own) & later)
    rank = logits.shape[-1] - jnp.sum(behind, axis=-1, dtype=jnp.int32)
    return jnp.where(labels == UNREADABLE, jnp.iinfo(jnp.int32).max, rank)


def predicted_class(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the class whose `label_rank` is 0, or `NO_ANSWER`. [B, K], [B] -> [B] int32."""
    known = (labels != UNREADABLE) & ~jnp.any(jnp.isnan(logits), axis=-1)
    return jnp.where(known, jnp.argmax(logits, axis=-1), NO_ANSWER).astype(jnp.int32)


def count_examples(logits: jax.Array, labels: jax.Array, mask: jax.Array, losses: jax.Array) -> Totals:
    """Sums the metrics of a batch over the rows whose mask is True.

    Args:
      logits: [B, K].
      labels: [B] integers.
      mask: [B] bool, False for padding rows.
      losses: [B] float32.
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
    """Returns the totals of no examples."""
    return Totals(count=0, top1=0, top5=0, loss=0.0)


def merge(totals: Totals, fetched: Totals) -> Totals:
    """Adds fetched device totals to host totals, in Python integers and float64."""
    return Totals(
        count=totals.count + int(fetched.count),
        top1=totals.top1 + int(fetched.top1),
        top5=totals.top5 + int(fetched.top5),
        loss=totals.loss + float(fetched.loss),
    )


def scalars(totals: Totals) -> dict[str, float]:
    """Returns means over examples: `loss` in nats, `top1` and `top5` in 0..1; NaN if there are no examples.

    The sums may still be on the devices, which are then waited for.
    """
    sums = {"loss": totals.loss, "top1": totals.top1, "top5": totals.top5}
    count = int(totals.count)
    return {name: float(total) / count if count else math.nan for name, total in sums.items()}
