"""Gradients of the training loss over a batch, in one pass or accumulated over micro-batches."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from resnet_jax.data.batch import DeviceBatch
from resnet_jax.data.on_device import Erasing, Mixed, Mixing, normalize, random_flip, row_keys
from resnet_jax.models.resnet import ResNet
from resnet_jax.training.losses import Loss, soft_targets
from resnet_jax.training.metrics import Totals, count_examples
from resnet_jax.training.trainable import only_trained, with_frozen

Preprocess = Callable[[jax.Array], jax.Array]  # images [B, H, W, 3]: uint8 pixels -> normalised floats
Split = Callable[[Any], Any]  # tree of leaves [B, ...] -> leaves [num_microbatches, B / num_microbatches, ...]
TrainInput = Callable[[jax.Array, DeviceBatch], Mixed]  # keys [B] and a batch -> images and targets of the network

_FLIP, _ERASE, _MIX, _DEPTH = range(4)  # folded into the key of a row: each random operation has its own stream

# Mean and standard deviation of ImageNet's pixels, as torchvision uses them: the input of `configs/resnet50.py`.
imagenet_input: Preprocess = functools.partial(
    normalize, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), dtype=jnp.float32
)


class Gradients(NamedTuple):
    """The result of a forward and backward pass over a batch."""

    params: dict[str, Any]  # gradients of loss scale times mean loss; `optax.MaskedNode` for frozen parameters
    batch_stats: dict[str, Any]  # running statistics after the batch
    examples: Totals


class IndexedBatch(NamedTuple):
    """A batch or micro-batch, and the row numbers from which its random keys are derived."""

    batch: DeviceBatch
    row_numbers: jax.Array  # [B] int32, index of each row in the global batch


Variables = dict[str, dict[str, Any]]  # 'params' and 'batch_stats'
GradientFn = Callable[[Variables, IndexedBatch, jax.Array, jax.Array | float], Gradients]


def make_train_input(
    *, preprocess: Preprocess, flip: bool, erasing: Erasing | None, mixing: Mixing | None
) -> TrainInput:
    """Returns the function from row keys [B] and a batch to the augmented images and their labels.

    Args:
      preprocess: normalises pixels; runs after the flip.
      flip: mirror each image with probability 1/2.
      erasing: random erasing of normalised images; None: off.
      mixing: mixup or cutmix, after erasing; None: off.
    """

    def train_input(keys: jax.Array, batch: DeviceBatch) -> Mixed:
        images = random_flip(_keys_for(_FLIP, keys), batch.image) if flip else batch.image
        images = preprocess(images)
        if erasing:
            images = erasing(_keys_for(_ERASE, keys), images)
        if mixing:
            return mixing(_keys_for(_MIX, keys), images, batch.label)
        return Mixed(images, batch.label, jnp.ones(len(batch.label)))

    return train_input


def make_gradient_fn(*, model: ResNet, train_input: TrainInput, loss: Loss, trainable: str = "") -> GradientFn:
    """Returns the function from variables, an indexed batch, the key of the step and the loss scale to `Gradients`.

    Args:
      model: takes float images [B, H, W, 3], `train=` and `uniforms=`.
      train_input: see `make_train_input`.
      loss: one value for each example.
      trainable: regular expression of the trained parameters, see `only_trained`; '' matches all.
    """

    def loss_fn(
        trained: Any, params: Any, batch_stats: Any, indexed: IndexedBatch, key: jax.Array, scale: jax.Array | float
    ) -> tuple[jax.Array, Any]:
        batch, keys = indexed.batch, row_keys(key, indexed.row_numbers)
        mixed = train_input(keys, batch)
        variables = {"params": with_frozen(trained, params), "batch_stats": batch_stats}
        uniforms = _uniforms(_keys_for(_DEPTH, keys), model.num_blocks) if model.stochastic_depth else None
        logits, updated = model.apply(variables, mixed.images, train=True, uniforms=uniforms, mutable=["batch_stats"])
        losses = loss(logits, soft_targets(batch.label, mixed.partner, mixed.share, logits.shape[-1]))
        labels = jnp.where(mixed.share >= 0.5, batch.label, mixed.partner)  # for the accuracy: the larger share
        return scale * jnp.mean(losses), (updated["batch_stats"], count_examples(logits, labels, batch.mask, losses))

    def gradient_fn(variables: Variables, indexed: IndexedBatch, key: jax.Array, scale: jax.Array | float) -> Gradients:
        params, trained = variables["params"], only_trained(variables["params"], trainable)
        grad_fn = jax.grad(loss_fn, has_aux=True)
        grads, (batch_stats, examples) = grad_fn(trained, params, variables["batch_stats"], indexed, key, scale)
        return Gradients(grads, batch_stats, examples)

    return gradient_fn


def split_into_microbatches(num_microbatches: int) -> Split:
    """Returns the function that splits each leaf [B, ...] into [num_microbatches, B / num_microbatches, ...].

    For rows on one device. `distributed.mesh.make_microbatch_split` splits rows that are spread over several.
    """
    return lambda tree: jax.tree.map(lambda leaf: leaf.reshape(num_microbatches, -1, *leaf.shape[1:]), tree)


def accumulate(gradient_fn: GradientFn, split: Split) -> GradientFn:
    """Returns a gradient function that runs the micro-batches of a batch one after another and averages.

    Each micro-batch starts from the same running statistics; gradients and changes of the statistics are averaged. The
    result equals that of the whole batch, up to rounding, if no batch norm group is split. A statistic that no
    micro-batch changes stays bit for bit.

    Args:
      gradient_fn: computes on one micro-batch.
      split: splits the batch, see `split_into_microbatches`.
    """

    def accumulated(variables: Variables, indexed: IndexedBatch, key: jax.Array, scale: jax.Array | float) -> Gradients:
        microbatches = split(indexed)
        old, count = variables["batch_stats"], len(microbatches.row_numbers)
        shapes = jax.eval_shape(gradient_fn, variables, jax.tree.map(lambda leaf: leaf[0], microbatches), key, scale)

        def add(sums: Gradients, microbatch: IndexedBatch) -> tuple[Gradients, None]:
            found = gradient_fn(variables, microbatch, key, scale)
            decreases = jax.tree.map(jnp.subtract, old, found.batch_stats)
            return jax.tree.map(jnp.add, sums, found._replace(batch_stats=decreases)), None

        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        sums, _ = jax.lax.scan(add, zeros, microbatches)
        grads, decreases = jax.tree.map(lambda leaf: leaf / count, (sums.params, sums.batch_stats))
        return Gradients(grads, jax.tree.map(jnp.subtract, old, decreases), sums.examples)

    return accumulated


def _keys_for(operation: int, keys: jax.Array) -> jax.Array:
    """Derives the keys [B] of one random operation from the keys [B] of the rows."""
    return jax.vmap(lambda key: jax.random.fold_in(key, operation))(keys)


def _uniforms(keys: jax.Array, count: int) -> jax.Array:
    """Samples `count` numbers for each key: [B] keys -> [B, count] float32 in [0, 1)."""
    return jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)
