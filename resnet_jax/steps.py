"""The training and evaluation steps: pure functions of a state and a batch."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from resnet_jax.augmentations import random_flip
from resnet_jax.batch import DeviceBatch
from resnet_jax.losses import cross_entropy
from resnet_jax.metrics import StepTotals, Totals, count_examples
from resnet_jax.schedules import Schedule
from resnet_jax.state import TrainState

TrainStep = Callable[[TrainState, DeviceBatch], tuple[TrainState, StepTotals]]
Preprocess = Callable[[jax.Array], jax.Array]
EvalStep = Callable[[TrainState, DeviceBatch], Totals]


def make_train_step(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    preprocess: Preprocess,
    flip: bool,
    label_smoothing: float,
    seed: int,
) -> TrainStep:
    """Returns the pure function that makes one update.

    Args:
      model: takes float images [B, H, W, 3] and `train=`.
      optimizer: without a learning rate (`optimizers.py`).
      schedule: learning rate of a step.
      preprocess: from pixels to the input of the model (`normalization.py`).
      flip: mirror images at random.
      label_smoothing: see `cross_entropy`.
      seed: of everything random on device; the key of a step is `fold_in(key(seed), step)`.
    """

    def loss_fn(params, batch_stats, images, labels):
        variables = {"params": params, "batch_stats": batch_stats}
        logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        losses = cross_entropy(logits, labels, label_smoothing=label_smoothing)
        return jnp.mean(losses), (updated["batch_stats"], logits, losses)

    def train_step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, StepTotals]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        images = random_flip(key, batch.image) if flip else batch.image
        grad_fn = jax.grad(loss_fn, has_aux=True)
        grads, (batch_stats, logits, losses) = grad_fn(state.params, state.batch_stats, preprocess(images), batch.label)
        directions, opt_state = optimizer.update(grads, state.opt_state, state.params)
        lr = jnp.asarray(schedule(state.step), jnp.float32)
        params = jax.tree.map(lambda param, direction: param - lr * direction, state.params, directions)
        totals = StepTotals(
            examples=count_examples(logits, batch.label, batch.mask, losses),
            grad_norm=optax.tree.norm(grads),
            lr=lr,
        )
        return TrainState(step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state), totals

    return train_step


def make_eval_step(*, model: nn.Module, preprocess: Preprocess) -> EvalStep:
    """Returns the pure function that sums a batch with the running statistics.

    The loss is the plain cross entropy, without smoothing, so that it compares across recipes.

    Args:
      model: takes float images [B, H, W, 3] and `train=`.
      preprocess: from pixels to the input of the model (`normalization.py`).
    """

    def eval_step(state: TrainState, batch: DeviceBatch) -> Totals:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        logits: jax.Array = model.apply(variables, preprocess(batch.image), train=False)  # type: ignore[assignment]
        losses = cross_entropy(logits, batch.label)
        return count_examples(logits, batch.label, batch.mask, losses)

    return eval_step
