"""Classification metrics as sums and counts, divided once on the host."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from resnet_jax.data.batch import UNREADABLE

NO_ANSWER = -1  # predicted class of an image that cannot be read, or of outputs of which some are NaN


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over examples: arrays on the devices, Python numbers on the host. `merge` adds them up."""

    count: Any  # int32, like the next two
    top1: Any
    top5: Any
    loss: Any  # float32, in nats


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StepTotals:
    """What one training step reports: sums over its batch, and numbers of the step itself.

    A step whose update was left out (`loss_scale.py`) has sums over no examples.
    """

    examples: Totals
    grad_norm: Any  # global L2 norm of the loss gradient, before weight decay
    lr: Any
    loss_scale: Any = None  # a `LossScale`, where it changes with time


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Answers:
    """What the examples of a batch were taken for: arrays on the devices, numpy arrays on the host."""

    label: Any  # [B] int32: the true class, or `UNREADABLE`
    predicted: Any  # [B] int32: a class, or `NO_ANSWER`
    mask: Any  # [B] bool; False marks padding


def label_rank(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """How many classes are predicted before the true one: 0 is a top-1 hit. [B, K], [B] -> [B] int32.

    Equal logits are ordered by class index, as `argmax` and `top_k` order them. Against a NaN every class
    loses, so that a broken model scores nothing; and so does every class against the label `UNREADABLE`.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    later = jnp.arange(logits.shape[-1])[None, :] >= labels[:, None]
    behind = (logits < own) | ((logits == own) & later)
    rank = logits.shape[-1] - jnp.sum(behind, axis=-1, dtype=jnp.int32)
    return jnp.where(labels == UNREADABLE, jnp.iinfo(jnp.int32).max, rank)


def predicted_class(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The class whose `label_rank` is 0, or `NO_ANSWER`. [B, K], [B] -> [B] int32."""
    known = (labels != UNREADABLE) & ~jnp.any(jnp.isnan(logits), axis=-1)
    return jnp.where(known, jnp.argmax(logits, axis=-1), NO_ANSWER).astype(jnp.int32)


def count_examples(logits: jax.Array, labels: jax.Array, mask: jax.Array, losses: jax.Array) -> Totals:
    """Sums a batch; rows where `mask` [B] is False count for nothing.

    Args:
      logits: [B, K].
      labels: [B] integers.
      mask: [B] bool.
      losses: [B] float32.
    """
    rank = label_rank(logits, labels)
    return Totals(
        count=_how_many(mask),
        top1=_how_many(mask & (rank < 1)),
        top5=_how_many(mask & (rank < 5)),
        loss=jnp.sum(jnp.where(mask, losses, 0.0)),
    )


def _how_many(marked: jax.Array) -> jax.Array:
    """[B] bool -> how many are True, int32."""
    # As float32, exact up to 2^24: XLA sums them over the devices together with the loss and the gradients, where
    # integers would take an exchange of their own.
    return jnp.sum(marked, dtype=jnp.float32).astype(jnp.int32)


def zero() -> Totals:
    """The sum over no examples."""
    return Totals(count=0, top1=0, top5=0, loss=0.0)


def merge(totals: Totals, fetched: Totals) -> Totals:
    """Adds fetched device sums to host sums, in Python's unbounded integers and float64."""
    return Totals(
        count=totals.count + int(fetched.count),
        top1=totals.top1 + int(fetched.top1),
        top5=totals.top5 + int(fetched.top5),
        loss=totals.loss + float(fetched.loss),
    )


def finite(scalars: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers that JSON can hold: what is not finite becomes None."""
    return {name: value if math.isfinite(value) else None for name, value in scalars.items()}


def scalars(totals: Totals) -> dict[str, float]:
    """Means per example: `loss` in nats, `top1` and `top5` in 0..1. NaN for no examples."""
    sums = {"loss": totals.loss, "top1": totals.top1, "top5": totals.top5}
    return {name: total / totals.count if totals.count else math.nan for name, total in sums.items()}
