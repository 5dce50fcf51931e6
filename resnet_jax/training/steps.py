"""The training and evaluation steps: pure functions of a state and a batch."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from resnet_jax.data.batch import DeviceBatch
from resnet_jax.data.on_device import Erasing, Mixing
from resnet_jax.errors import UsageError
from resnet_jax.models.resnet import ResNet
from resnet_jax.training.ema import update_average
from resnet_jax.training.gradients import (
    GradientFn,
    IndexedBatch,
    Preprocess,
    Variables,
    accumulate,
    gradient_norm,
    imagenet_input,
    make_gradient_fn,
    make_train_input,
    split_into_microbatches,
)
from resnet_jax.training.loss_scale import adjust
from resnet_jax.training.losses import Loss, create_loss, cross_entropy
from resnet_jax.training.metrics import Answers, StepTotals, Totals, count_examples, predicted_class
from resnet_jax.training.schedules import Schedule
from resnet_jax.training.scores import score
from resnet_jax.training.sharded_gradients import sum_over_devices
from resnet_jax.training.state import TrainState
from resnet_jax.training.trainable import apply_updates

TrainStep = Callable[[TrainState, DeviceBatch], tuple[TrainState, StepTotals]]


class LossScaling(NamedTuple):
    """Loss scaling, which keeps small gradients representable in float16."""

    scale: float = 1.0  # initial loss scale
    growth_steps: int | None = None  # see `loss_scale.adjust`; None: the scale is constant


NO_SCALING = LossScaling()


def make_train_step(  # noqa: PLR0913, an argument for each independent choice
    *,
    model: ResNet,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
    loss: Loss | None = None,
    preprocess: Preprocess = imagenet_input,
    flip: bool = True,
    erasing: Erasing | None = None,
    mixing: Mixing | None = None,
    trainable: str = "",
    ema_decay: float = 0.0,
    scaling: LossScaling = NO_SCALING,
    num_microbatches: int = 1,
    mesh: Mesh | None = None,
    seed: int = 0,
) -> TrainStep:
    """Returns the pure function (state, batch) -> (state, totals) that makes one update; jit it and donate the state.

    `make_init` makes the state of step 0. Give `make_init` the same model and optimizer, `averages=True` if
    `ema_decay` is set, and `loss_scale=scaling.scale` to skip the updates whose gradients are not finite.

    Args:
      model: the network, see `create_model`.
      optimizer: see `create_optimizer`.
      schedule: learning rate of each step, see `create_schedule`.
      loss: training loss, see `create_loss`; None: `create_loss()`.
      preprocess: normalizes pixels [B, H, W, 3] uint8; by default with ImageNet's mean and standard deviation.
      flip: mirror each image left to right with probability 1/2.
      erasing: random erasing; None: no erasing.
      mixing: mixup or cutmix; None: no mixing.
      trainable: regular expression of the parameters to train, '' for all; give `train_only` the same pattern.
      ema_decay: decay of the moving average of the variables; 0: no average.
      scaling: loss scaling, for a float16 model.
      num_microbatches: number of micro-batches, which run one after another to save memory.
      mesh: devices over which the batch is split; each sums its own gradients before one all-reduce. None: one device,
        or a sharded batch for which XLA inserts the all-reduces.
      seed: seed of all random numbers that are drawn on the devices.

    Raises:
      UsageError: raised while the returned step is traced: micro-batches or devices would split a batch norm group, or
        only one of the step and the state keeps a moving average.
    """
    train_input = make_train_input(preprocess=preprocess, flip=flip, erasing=erasing, mixing=mixing)
    gradient_fn = make_gradient_fn(
        model=model, train_input=train_input, loss=loss or create_loss(), trainable=trainable
    )
    if num_microbatches > 1:
        gradient_fn = accumulate(gradient_fn, split_into_microbatches(num_microbatches))
    devices = mesh.size if mesh else 1
    if mesh and devices > 1:
        gradient_fn = sum_over_devices(gradient_fn, mesh)
    return make_update_step(
        gradient_fn=_with_whole_groups(gradient_fn, model.bn_group_size, devices, num_microbatches),
        optimizer=optimizer,
        schedule=schedule,
        average=functools.partial(update_average, decay=ema_decay) if ema_decay else None,
        scaling=scaling,
        seed=seed,
    )


def _with_whole_groups(
    gradient_fn: GradientFn, group_size: int | None, devices: int, num_microbatches: int
) -> GradientFn:
    """Returns the gradient function with a check that no batch norm group is split over devices or micro-batches."""

    def checked(variables: Variables, indexed: IndexedBatch, key: jax.Array, scale: jax.Array | float) -> Any:
        batch_size, pieces = len(indexed.row_numbers), devices * num_microbatches
        if pieces > 1 and batch_size % (pieces * (group_size or batch_size)):
            raise UsageError(
                f"{devices} devices and {num_microbatches} micro-batches would split a batch norm group: set the "
                f"model's bn_group_size, now {group_size}, to a divisor of {batch_size / pieces:g}, the images of one "
                "micro-batch on one device"
            )
        return gradient_fn(variables, indexed, key, scale)

    return checked


def make_update_step(
    *,
    gradient_fn: GradientFn,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
    average: Callable[..., dict[str, Any]] | None,
    scaling: LossScaling,
    seed: int,
) -> TrainStep:
    """Returns the training step for a given gradient function; `make_train_step` also builds the gradient function.

    With a loss scale in the state, a step whose gradients are not finite makes no update but still counts as a step,
    since its batch is used up; `loss_scale.adjust` then changes the scale.

    Args:
      gradient_fn: computes the gradients of a whole batch, see `gradients.py`.
      optimizer: takes the learning rate as `lr=` (`optimizers.py`).
      schedule: learning rate of each step.
      average: computes the new average from the old average, the new variables and `step=`; None: no average.
      scaling: initial loss scale and its growth.
      seed: seed of all random numbers that are drawn on the devices; the key of a step is `fold_in(key(seed), step)`.
    """

    def train_step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, StepTotals]:
        if (average is None) != (state.average is None):
            raise UsageError(
                "the step and the state must both keep a moving average, or neither: give make_init "
                "averages=True if and only if make_train_step has an ema_decay above 0"
            )
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        indexed = IndexedBatch(batch, jnp.arange(len(batch.label), dtype=jnp.int32))
        scale = state.loss_scale.scale if state.loss_scale else scaling.scale
        gradients = gradient_fn(state.variables, indexed, key, scale)
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
        totals = StepTotals(gradients.examples, grad_norm=gradient_norm(grads), lr=lr, loss_scale=state.loss_scale)
        return _skip_overflow(state, new, totals, scaling) if state.loss_scale else (new, totals)

    return train_step


def _skip_overflow(
    old: TrainState, new: TrainState, totals: StepTotals, scaling: LossScaling
) -> tuple[TrainState, StepTotals]:
    """Reverts an update whose gradients or loss are not finite, and adjusts the loss scale.

    At a loss scale of 1 or less scaling is not the cause of such values: the update is kept, and the totals show them.
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
    """Evaluates a batch with given variables, as a pure function; `with_answers` also returns each prediction.

    The loss is the cross entropy without label smoothing, so that recipes can be compared.

    Attributes:
      model: takes float images [B, H, W, 3] and `train=`.
      preprocess: normalizes pixels to the input of the model.
      flip: average the probabilities of each image and of its mirror image (A. Krizhevsky et al., NeurIPS 2012).
      num_compared: only the first `num_compared` outputs can be predicted; None: all.
    """

    model: nn.Module
    preprocess: Preprocess = imagenet_input
    flip: bool = False
    num_compared: int | None = None

    def __call__(self, variables: dict[str, Any], batch: DeviceBatch) -> Totals:
        """Returns the loss and accuracy totals of the batch."""
        return self.with_logits(variables, batch)[0]

    def with_answers(self, variables: dict[str, Any], batch: DeviceBatch) -> tuple[Totals, Answers]:
        """Returns the loss and accuracy totals of the batch, and label, prediction and probabilities of each row."""
        totals, logits = self.with_logits(variables, batch)
        return totals, answer(logits, batch.label, batch.mask)

    def with_logits(self, variables: dict[str, Any], batch: DeviceBatch) -> tuple[Totals, jax.Array]:
        """Returns the loss and accuracy totals of the batch, and the logits [B, K] of `num_compared` outputs.

        They are the first K outputs; the prediction is the largest of them.
        """
        images = self.preprocess(batch.image)
        logits = self._logits(variables, images)
        if self.flip:
            both = jnp.stack([logits, self._logits(variables, images[:, :, ::-1])]).astype(jnp.float32)
            logits = jax.nn.logsumexp(jax.nn.log_softmax(both, axis=-1), axis=0) - jnp.log(2.0)
        losses = cross_entropy(logits, batch.label)
        return count_examples(logits, batch.label, batch.mask, losses), logits

    def _logits(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        logits: jax.Array = self.model.apply(variables, images, train=False)  # type: ignore[assignment]
        return logits[:, : self.num_compared]


def answer(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Answers:
    """Returns the label, prediction and probabilities of each row of a batch.

    Args:
      logits: [B, K].
      labels: [B] int32, true class or `UNREADABLE`.
      mask: [B] bool, False for padding rows.
    """
    return Answers(labels, predicted_class(logits, labels), mask, score(logits, labels))
