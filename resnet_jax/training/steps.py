"""The training and evaluation steps: pure functions of a state and a batch."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from resnet_jax.data.batch import DeviceBatch
from resnet_jax.training.gradients import GradientFn, IndexedBatch, Preprocess
from resnet_jax.training.loss_scale import adjust
from resnet_jax.training.losses import cross_entropy
from resnet_jax.training.metrics import Answers, StepTotals, Totals, count_examples, predicted_class
from resnet_jax.training.schedules import Schedule
from resnet_jax.training.state import TrainState
from resnet_jax.training.trainable import apply_updates

TrainStep = Callable[[TrainState, DeviceBatch], tuple[TrainState, StepTotals]]


class LossScaling(NamedTuple):
    """How the loss is scaled while its gradient is computed, so that float16 does not lose small ones."""

    scale: float  # the first, or only one
    growth_steps: int | None  # see `loss_scale.adjust`; None: the scale never changes


def make_train_step(
    *,
    gradient_fn: GradientFn,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
    average: Callable[..., dict[str, Any]] | None,
    scaling: LossScaling,
    seed: int,
) -> TrainStep:
    """Returns the pure function that makes one update.

    Where the loss is scaled, an update whose gradient is not finite is left out: the step counts, for its batch is
    gone, and the scale goes down if it changes with time.

    Args:
      gradient_fn: see `gradients.py`.
      optimizer: takes the rate as `lr=` (`optimizers.py`).
      schedule: learning rate of a step.
      average: from the old average, the new variables and `step=` to the new average; None: there is none.
      scaling: of the loss.
      seed: of everything random on device; the key of a step is `fold_in(key(seed), step)`.
    """

    def train_step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, StepTotals]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        rows = IndexedBatch(batch, jnp.arange(len(batch.label), dtype=jnp.int32))
        scale = state.loss_scale.scale if state.loss_scale else scaling.scale
        gradients = gradient_fn(state.variables, rows, key, scale)
        grads = jax.tree.map(lambda grad: grad / scale, gradients.params)
        lr = jnp.asarray(schedule(state.step), jnp.float32)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, lr=lr)
        new = dataclasses.replace(
            state,
            step=state.step + 1,
            params=apply_updates(state.params, updates),
            batch_stats=gradients.batch_stats,
            opt_state=opt_state,
        )
        if average:
            new = dataclasses.replace(new, average=average(state.average, new.variables, step=state.step))
        totals = StepTotals(gradients.examples, grad_norm=optax.tree.norm(grads), lr=lr, loss_scale=state.loss_scale)
        return _leave_out_overflow(state, new, totals, scaling) if state.loss_scale else (new, totals)

    return train_step


def _leave_out_overflow(
    old: TrainState, new: TrainState, totals: StepTotals, scaling: LossScaling
) -> tuple[TrainState, StepTotals]:
    """Takes back an update that is not finite, and adjusts the loss scale.

    Not at a scale of 1, where the scale is not to blame: then what is not finite shows in the totals.
    """
    assert old.loss_scale is not None
    finite = jnp.isfinite(totals.grad_norm) & jnp.isfinite(totals.examples.loss)
    good = finite | (old.loss_scale.scale <= 1.0)
    loss_scale = adjust(old.loss_scale, good, growth_steps=scaling.growth_steps)
    kept: TrainState = jax.tree.map(lambda one, other: jnp.where(good, one, other), new, old)
    examples = jax.tree.map(lambda total: jnp.where(good, total, 0), totals.examples)
    return (
        dataclasses.replace(kept, step=new.step, loss_scale=loss_scale),
        StepTotals(examples, grad_norm=jnp.where(good, totals.grad_norm, 0.0), lr=totals.lr, loss_scale=loss_scale),
    )


@dataclasses.dataclass(frozen=True)
class EvalStep:
    """The pure functions that evaluate a batch, given 'params' and 'batch_stats'.

    The loss is the plain cross entropy, without smoothing, so that it compares across recipes.

    Attributes:
      model: takes float images [B, H, W, 3] and `train=`.
      preprocess: from pixels to the input of the model (`normalization.py`).
    """

    model: nn.Module
    preprocess: Preprocess

    def __call__(self, variables: dict[str, Any], batch: DeviceBatch) -> Totals:
        """Sums the batch."""
        return self.with_answers(variables, batch)[0]

    def with_answers(self, variables: dict[str, Any], batch: DeviceBatch) -> tuple[Totals, Answers]:
        """Sums the batch, and says what each example was taken for."""
        images = self.preprocess(batch.image)
        logits: jax.Array = self.model.apply(variables, images, train=False)  # type: ignore[assignment]
        losses = cross_entropy(logits, batch.label)
        totals = count_examples(logits, batch.label, batch.mask, losses)
        return totals, Answers(batch.label, predicted_class(logits, batch.label), batch.mask)
