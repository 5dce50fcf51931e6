"""Gradients of the training loss over a batch, in one pass or accumulated over micro-batches."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from resnet_jax.data.batch import DeviceBatch
from resnet_jax.data.on_device import Erasing, Mixed, Mixing, normalize, random_flip, row_keys
from resnet_jax.models.platforms import by_platform
from resnet_jax.models.resnet import ResNet
from resnet_jax.training.losses import Loss, soft_targets
from resnet_jax.training.metrics import Totals, count_examples
from resnet_jax.training.trainable import only_trained, with_frozen

Preprocess = Callable[[jax.Array], jax.Array]  # images [B, H, W, 3]: uint8 pixels -> normalized floats
Split = Callable[[Any], Any]  # reshapes each leaf [B, ...] to [num_microbatches, B / num_microbatches, ...]
TrainInput = Callable[[jax.Array, DeviceBatch], Mixed]  # row keys [B], batch -> augmented images, labels

_FLIP, _ERASE, _MIX, _DEPTH = range(4)  # folded into the key of a row, for random numbers of its own

# Normalizes pixels in 0..255 with ImageNet's mean and standard deviation, as torchvision and `configs/resnet50.py` do.
imagenet_input: Preprocess = functools.partial(
    normalize, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), dtype=jnp.float32
)


class Gradients(NamedTuple):
    """The result of a forward and backward pass over a batch."""

    params: dict[str, Any]  # gradients of loss scale * mean loss; `optax.MaskedNode` for frozen parameters
    batch_stats: dict[str, Any]  # running mean and variance of each batch norm after the batch
    examples: Totals  # sums over the examples of the batch: losses and numbers of correct predictions


class Forward(NamedTuple):
    """The result of a forward pass over a batch in training."""

    inputs: Mixed  # augmented and normalized images, with their labels
    logits: jax.Array  # [B, K] float32
    losses: jax.Array  # [B] float32, in nats
    batch_stats: dict[str, Any]  # running mean and variance of each batch norm after the batch


class IndexedBatch(NamedTuple):
    """A batch or micro-batch, and for each of its rows the number from which the random key of the row is derived."""

    batch: DeviceBatch
    row_numbers: jax.Array  # [B] int32, index of each row in the global batch


Variables = dict[str, dict[str, Any]]  # variables of a network: 'params' and 'batch_stats', each a tree of arrays
ForwardFn = Callable[[Variables, IndexedBatch, jax.Array], Forward]
GradientFn = Callable[[Variables, IndexedBatch, jax.Array, jax.Array | float], Gradients]


def make_train_input(
    *, preprocess: Preprocess, flip: bool, erasing: Erasing | None, mixing: Mixing | None
) -> TrainInput:
    """Returns the function that maps the random key of each row, [B], and a batch to augmented images and labels.

    Args:
      preprocess: normalizes pixels; runs after the flip.
      flip: mirror each image left to right with probability 1/2.
      erasing: random erasing, applied to normalized images; None: no erasing.
      mixing: mixup or cutmix, applied after erasing; None: no mixing.
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


def make_forward_fn(*, model: ResNet, train_input: TrainInput, loss: Loss) -> ForwardFn:
    """Returns the function that maps variables, an indexed batch and the key of the step to `Forward`.

    Args:
      model: see `make_gradient_fn`.
      train_input: see `make_gradient_fn`.
      loss: see `make_gradient_fn`.
    """

    def forward_fn(variables: Variables, indexed: IndexedBatch, key: jax.Array) -> Forward:
        batch, keys = indexed.batch, row_keys(key, indexed.row_numbers)
        mixed = train_input(keys, batch)
        uniforms = _uniforms(_keys_for(_DEPTH, keys), model.num_blocks) if model.stochastic_depth else None
        logits, updated = model.apply(variables, mixed.images, train=True, uniforms=uniforms, mutable=["batch_stats"])
        losses = loss(logits, soft_targets(batch.label, mixed.partner, mixed.share, logits.shape[-1]))
        return Forward(mixed, logits, losses, updated["batch_stats"])

    return forward_fn


def make_gradient_fn(*, model: ResNet, train_input: TrainInput, loss: Loss, trainable: str = "") -> GradientFn:
    """Returns the function that maps variables, an indexed batch, the step's key and the loss scale to `Gradients`.

    Args:
      model: network; it is called with float images [B, H, W, 3] and the keyword arguments `train` and `uniforms`.
      train_input: augmentation, see `make_train_input`.
      loss: function of logits [B, K] and targets [B, K] that returns one loss per example, [B].
      trainable: regular expression of the parameters to train, see `only_trained`; '' matches all.
    """
    forward_fn = make_forward_fn(model=model, train_input=train_input, loss=loss)

    def loss_fn(
        trained: Any, params: Any, batch_stats: Any, indexed: IndexedBatch, key: jax.Array, scale: jax.Array | float
    ) -> tuple[jax.Array, Any]:
        variables, batch = {"params": with_frozen(trained, params), "batch_stats": batch_stats}, indexed.batch
        mixed, logits, losses, updated = forward_fn(variables, indexed, key)
        labels = jnp.where(mixed.share >= 0.5, batch.label, mixed.partner)  # the label with the larger share
        return scale * jnp.mean(losses), (updated, count_examples(logits, labels, batch.mask, losses))

    def gradient_fn(variables: Variables, indexed: IndexedBatch, key: jax.Array, scale: jax.Array | float) -> Gradients:
        params, trained = variables["params"], only_trained(variables["params"], trainable)
        grad_fn = jax.grad(loss_fn, has_aux=True)
        grads, (batch_stats, examples) = grad_fn(trained, params, variables["batch_stats"], indexed, key, scale)
        return Gradients(grads, batch_stats, examples)

    return gradient_fn


def split_into_microbatches(num_microbatches: int) -> Split:
    """Returns the function that splits each leaf [B, ...] into [num_microbatches, B / num_microbatches, ...].

    This is for a batch on one device; `distributed.mesh.make_microbatch_split` splits a batch sharded over several.
    """
    return lambda tree: jax.tree.map(lambda leaf: leaf.reshape(num_microbatches, -1, *leaf.shape[1:]), tree)


def accumulate(gradient_fn: GradientFn, split: Split) -> GradientFn:
    """Returns a gradient function that runs the micro-batches of a batch one by one and averages their gradients.

    Each micro-batch starts from the same running statistics; the changes of the statistics are averaged as well. Up to
    rounding, the result equals that of one pass over the whole batch if no batch norm group is split. A running
    statistic that no micro-batch changes keeps its exact value.

    Args:
      gradient_fn: computes the gradients of one micro-batch.
      split: splits a batch into micro-batches, see `split_into_microbatches`.
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


def gradient_norm(grads: Any) -> jax.Array:
    """Returns the global L2 norm of a tree of gradients, a float32 scalar."""
    # On a GPU, XLA compiles the sum over a whole array to two kernels per array. Sums over rows are fused into the
    # kernels that read the gradients for the update, which leaves one long sum for all arrays together.
    return by_platform(grads, cuda=_norm_by_rows, others=optax.tree.norm)


def _norm_by_rows(grads: Any) -> jax.Array:
    squares = [jnp.square(leaf) for leaf in jax.tree.leaves(grads)]
    rows = [square if square.ndim == 1 else jnp.sum(square, axis=-1).ravel() for square in squares]
    # Without the barrier, XLA would turn the sum of row sums back into a sum over each whole array.
    return jnp.sqrt(jnp.sum(jax.lax.optimization_barrier(jnp.concatenate(rows))))


def _keys_for(operation: int, keys: jax.Array) -> jax.Array:
    """Derives the keys [B] of one random operation from the keys [B] of the rows."""
    return jax.vmap(lambda key: jax.random.fold_in(key, operation))(keys)


def _uniforms(keys: jax.Array, count: int) -> jax.Array:
    """Samples `count` uniform random numbers for each key: [B] keys -> [B, count] float32 in [0, 1)."""
    return jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)
