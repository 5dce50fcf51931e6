"""The gradient of the training loss over a batch, whole or part by part."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from resnet_jax.data.batch import DeviceBatch
from resnet_jax.data.on_device import Erasing, Mixed, Mixing, random_flip, row_keys
from resnet_jax.models.resnet import ResNet
from resnet_jax.training.losses import Loss, soft_targets
from resnet_jax.training.metrics import Totals, count_examples
from resnet_jax.training.trainable import only_trained, with_frozen

Preprocess = Callable[[jax.Array], jax.Array]  # [B, H, W, 3] uint8 -> the same, float
Split = Callable[[Any], Any]  # leaves [B, ...] -> [parts, B / parts, ...]
TrainInput = Callable[[jax.Array, DeviceBatch], Mixed]

_FLIP, _ERASE, _MIX, _DEPTH = range(4)  # what a row's key is for


class Gradients(NamedTuple):
    """What a pass over a batch gives."""

    params: dict[str, Any]  # of the mean loss times the loss scale; empty nodes for what is not trained
    batch_stats: dict[str, Any]  # the new running statistics
    examples: Totals


class IndexedBatch(NamedTuple):
    """A batch, or a part of one, and which rows of the global batch it has: their keys are made of that."""

    batch: DeviceBatch
    row_numbers: jax.Array  # [B] int32, index of each row in the global batch


Variables = dict[str, dict[str, Any]]
GradientFn = Callable[[Variables, IndexedBatch, jax.Array, jax.Array | float], Gradients]


def make_train_input(
    *, preprocess: Preprocess, flip: bool, erasing: Erasing | None, mixing: Mixing | None
) -> TrainInput:
    """Returns the function from keys [B] and a batch to what the network is to see of it.

    Args:
      preprocess: from pixels to normalised floats (`normalization.py`).
      flip: mirror images at random.
      erasing: of normalised images.
      mixing: after it.
    """

    def train_input(keys: jax.Array, batch: DeviceBatch) -> Mixed:
        images = random_flip(_for_use(_FLIP, keys), batch.image) if flip else batch.image
        images = preprocess(images)
        if erasing:
            images = erasing(_for_use(_ERASE, keys), images)
        if mixing:
            return mixing(_for_use(_MIX, keys), images, batch.label)
        return Mixed(images, batch.label, jnp.ones(len(batch.label)))

    return train_input


def make_gradient_fn(*, model: ResNet, train_input: TrainInput, loss: Loss, trainable: str) -> GradientFn:
    """Returns the function from variables, rows, the key of the step and the loss scale to `Gradients`.

    Args:
      model: takes float images [B, H, W, 3], `train=` and `uniforms=`.
      train_input: see `make_train_input`.
      loss: of single examples.
      trainable: regular expression, see `only_trained`; '' finds all parameters.
    """

    def loss_fn(trained, params, batch_stats, rows, key, scale):
        batch, keys = rows.batch, row_keys(key, rows.row_numbers)
        seen = train_input(keys, batch)
        variables = {"params": with_frozen(trained, params), "batch_stats": batch_stats}
        uniforms = _uniforms(_for_use(_DEPTH, keys), model.num_blocks) if model.stochastic_depth else None
        logits, updated = model.apply(variables, seen.images, train=True, uniforms=uniforms, mutable=["batch_stats"])
        losses = loss(logits, soft_targets(batch.label, seen.partner, seen.share, logits.shape[-1]))
        labels = jnp.where(seen.share >= 0.5, batch.label, seen.partner)  # for the accuracy: what is seen most of
        return scale * jnp.mean(losses), (updated["batch_stats"], count_examples(logits, labels, batch.mask, losses))

    def gradient_fn(variables: Variables, rows: IndexedBatch, key: jax.Array, scale: jax.Array | float) -> Gradients:
        params, trained = variables["params"], only_trained(variables["params"], trainable)
        grad_fn = jax.grad(loss_fn, has_aux=True)
        grads, (batch_stats, examples) = grad_fn(trained, params, variables["batch_stats"], rows, key, scale)
        return Gradients(grads, batch_stats, examples)

    return gradient_fn


def split_into_microbatches(parts: int) -> Split:
    """Returns the function that takes the rows of one device apart: leaves [B, ...] -> [parts, B / parts, ...]."""
    return lambda rows: jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), rows)


def accumulate(gradient_fn: GradientFn, split: Split) -> GradientFn:
    """Returns a function of the same result that sends the parts of a batch through the network in turn.

    Every part starts from the same running statistics; gradients and the changes of the statistics are averaged. They
    are those of the whole batch, up to rounding, if no batch norm group is taken apart; what no part changes stays
    bit by bit.

    Args:
      gradient_fn: of one part.
      split: takes rows apart (`split_into_microbatches`, `sharding.make_split`).
    """

    def accumulated(variables: Variables, rows: IndexedBatch, key: jax.Array, scale: jax.Array | float) -> Gradients:
        parts = split(rows)
        old, count = variables["batch_stats"], len(parts.row_numbers)
        shapes = jax.eval_shape(gradient_fn, variables, jax.tree.map(lambda leaf: leaf[0], parts), key, scale)

        def add(sums: Gradients, part: IndexedBatch) -> tuple[Gradients, None]:
            found = gradient_fn(variables, part, key, scale)
            decreases = jax.tree.map(jnp.subtract, old, found.batch_stats)
            return jax.tree.map(jnp.add, sums, found._replace(batch_stats=decreases)), None

        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        sums, _ = jax.lax.scan(add, zeros, parts)
        grads, decreases = jax.tree.map(lambda leaf: leaf / count, (sums.params, sums.batch_stats))
        return Gradients(grads, jax.tree.map(jnp.subtract, old, decreases), sums.examples)

    return accumulated


def _for_use(use: int, keys: jax.Array) -> jax.Array:
    return jax.vmap(lambda key: jax.random.fold_in(key, use))(keys)


def _uniforms(keys: jax.Array, count: int) -> jax.Array:
    """[B] keys -> [B, count] float32 in [0, 1)."""
    return jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)
