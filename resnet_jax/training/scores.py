"""The probabilities that an evaluation keeps for each image: those of the most likely classes and of the label."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.data.batch import UNREADABLE

NO_ANSWER = -1  # predicted class where the label is `UNREADABLE` or a logit is NaN
TOP = 5  # number of classes whose probability is kept for each image
# The inverse temperatures b for which `Scores.log_partition` is computed: 2^-3 to 2^3, twelve per factor of 2.
INVERSE_TEMPERATURES = 2.0 ** (np.arange(-36, 37) / 12)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scores:
    """Probabilities of a batch, after the softmax: arrays on the devices, numpy arrays on the host.

    Shapes: k = min(5, number of outputs), J = number of inverse temperatures. An image with a NaN logit has NaN
    probabilities.
    """

    top: Any  # [B, k] int32, the classes of the largest logits in descending order; `NO_ANSWER` if there is no answer
    log_probability: Any  # [B, k] float32, natural logarithm of the probabilities of `top`
    label_log_probability: Any  # [B] float32, log probability of the label; NaN if it is `UNREADABLE`
    log_partition: Any  # [B, J] float32, log(sum over classes of p^b) for each b of `INVERSE_TEMPERATURES`


def score(logits: jax.Array, labels: jax.Array) -> Scores:
    """Returns the scores of a batch with logits [B, K] and labels [B].

    A temperature T changes the probabilities p to p^b / sum(p^b) with b = 1 / T. So `log_partition` gives the
    probability of every kept class at every temperature, and no logits have to be stored.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    readable = labels != UNREADABLE
    known = readable & ~jnp.any(jnp.isnan(logits), axis=-1)
    _, top = jax.lax.top_k(logits, min(TOP, logits.shape[-1]))
    own = jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
    powers = jnp.asarray(INVERSE_TEMPERATURES, jnp.float32)
    partition = jax.lax.map(lambda power: jax.nn.logsumexp(power * log_p, axis=-1), powers)
    return Scores(
        top=jnp.where(known[:, None], top, NO_ANSWER).astype(jnp.int32),
        log_probability=jnp.take_along_axis(log_p, top, axis=-1),
        label_log_probability=jnp.where(readable, own, jnp.nan),
        log_partition=partition.T,
    )
