"""Makes the network and the pure functions of a config: initial state, training step, evaluation step."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.data.on_device import Erasing, Mixing, normalize, standardize_per_image
from resnet_jax.distributed.mesh import make_microbatch_split
from resnet_jax.errors import UsageError
from resnet_jax.experiment.batch_division import whole_groups_per_device
from resnet_jax.experiment.inputs import eval_image_size
from resnet_jax.experiment.network import network_settings, training_settings
from resnet_jax.experiment.parts import Computation, EvalComputation
from resnet_jax.experiment.r1_run import make_continue_r1
from resnet_jax.models import create_model
from resnet_jax.models.resnet import ResNet
from resnet_jax.training import steps
from resnet_jax.training.ema import update_average
from resnet_jax.training.gradients import (
    GradientFn,
    Preprocess,
    TrainInput,
    accumulate,
    make_forward_fn,
    make_gradient_fn,
    make_train_input,
    split_into_microbatches,
)
from resnet_jax.training.losses import Loss, create_loss
from resnet_jax.training.optimizers import create_optimizer
from resnet_jax.training.schedules import Schedule
from resnet_jax.training.sharded_gradients import sum_over_devices
from resnet_jax.training.state import TrainState, WeightsKind, make_init
from resnet_jax.training.trainable import train_only, trainable_pattern
from resnet_jax.weights.class_outputs import Classes
from resnet_jax.weights.warm_start import warm_start_state


def make_computation(
    config: ConfigDict, mesh: Mesh, num_microbatches: int, class_names: Sequence[str], schedule: Schedule
) -> Computation:
    """Makes the pure functions of a training run.

    Args:
      config: has the keys of `configs/default.py`.
      mesh: the devices of the run.
      num_microbatches: number of micro-batches into which a step divides its batch.
      class_names: names of the classes of the data.
      schedule: the learning rate as a function of the step.

    Raises:
      UsageError: an unknown name, or options that contradict each other.
    """
    model, optimizer = make_model(config, len(class_names)), make_optimizer(config)
    init = _make_init(config, model, optimizer)
    train_input = make_train_input_of(config, group_size=config.model.bn_group_size)
    forward: dict[str, Any] = {"model": model, "train_input": train_input, "loss": _make_loss(config)}
    one_device = make_gradient_fn(**forward, trainable=trainable_pattern(config.train.trainable))
    gradient_fn = _over_batch(config, one_device, mesh, num_microbatches)
    return Computation(
        mesh=mesh,
        model=model,
        dtype=config.model.dtype,
        network=training_settings(config),
        shapes=jax.eval_shape(init).variables,  # raises if a pattern, such as train.trainable, matches no parameter
        eval_step=steps.EvalStep(model, make_preprocess(config)),
        num_microbatches=num_microbatches,
        trainable=trainable_pattern(config.train.trainable),
        init=init,
        warm_start=_make_warm_start(config, class_names),
        continue_r1=make_continue_r1(config),
        train_step=_make_train_step(config, gradient_fn, optimizer, schedule),
        forward_fn=make_forward_fn(**forward),
        gradient_fn=gradient_fn,
        seed=config.seed,
        eval_weights=_weights_to_evaluate(config),
    )


def make_eval_computation(config: ConfigDict, mesh: Mesh, num_classes: int) -> EvalComputation:
    """Makes the pure functions of an evaluation.

    Raises:
      UsageError: the network cannot be made, or has fewer than `num_classes` outputs.
    """
    model = make_model(config, num_classes)
    return EvalComputation(
        mesh=mesh,
        model=model,
        dtype=config.model.dtype,
        network=network_settings(config),
        shapes=variable_shapes(model, eval_image_size(config)),
        eval_step=steps.EvalStep(model, make_preprocess(config)),
    )


def check_image_sizes(config: ConfigDict, sizes: Sequence[int]) -> None:
    """Raises UsageError for an odd image size if the stem folds squares of 2 x 2 pixels into channels."""
    odd = [size for size in sizes if size % 2]
    if odd and config.model.name == "resnet" and config.model.stem == "space_to_depth":
        raise UsageError(
            f"images of {odd[0]} pixels cannot be folded into squares of 2 x 2: take even sizes (data.image_size, "
            "data.progressive.sizes, eval.image_size), or config.model.stem='conv7', which is the same function"
        )


# Keys of the config section `model` that say how weights are loaded; they are no arguments of `create_model`.
_OPTIONS_OF_WEIGHTS = (
    *("init_from", "init_head", "init_optimizer", "init_statistics", "init_any_input", "allow_missing"),
    *("class_names", "class_outputs"),
)


def make_model(config: ConfigDict, num_classes: int) -> ResNet:
    """Makes the network for data of `num_classes` classes.

    Raises:
      UsageError: config keys contradict each other, or `model.num_classes` is less than `num_classes`.
    """
    options = {key: value for key, value in config.model.items() if key not in _OPTIONS_OF_WEIGHTS}
    if options["num_classes"] is None:
        options["num_classes"] = num_classes
    elif options["num_classes"] < num_classes:
        raise UsageError(
            f"config.model.num_classes={options['num_classes']} is less than the {num_classes} classes of the data"
        )
    return create_model(**options, trained_norms=trained_norms(config))


def trained_norms(config: ConfigDict) -> str:
    """Returns the regular expression that matches the batch norms whose statistics are updated; '' matches all."""
    return trainable_pattern(config.train.trainable if config.train.freeze_statistics else None)


def make_optimizer(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """Makes the optimizer of the trainable parameters.

    Raises:
      UsageError: an unknown name, or options that contradict each other.
    """
    return train_only(create_optimizer(**config.optimizer), trainable_pattern(config.train.trainable))


def _make_warm_start(config: ConfigDict, class_names: Sequence[str]) -> Callable[[TrainState], TrainState] | None:
    """Returns the function that loads `model.init_from` into the state of step 0; None if this key is None.

    Raises:
      UsageError: `init_head` or `init_optimizer` is set without `init_from`, or `init_optimizer` without `init_head`,
        or frozen batch norms would keep statistics that are not loaded.
    """
    model = config.model
    without_effect = [key for key in ("init_head", "init_optimizer") if model[key] and model.init_from is None]
    if without_effect:
        raise UsageError(
            f"config.model.{without_effect[0]}=True has no effect without config.model.init_from: set init_from to a "
            "checkpoint or a weights file"
        )
    if model.init_optimizer and not model.init_head:
        raise UsageError(
            "config.model.init_optimizer=True needs the last layer of the same run: set config.model.init_head=True"
        )
    if model.init_from is None:
        return None
    if not model.init_statistics and trained_norms(config):
        raise UsageError(
            "config.model.init_statistics=False with frozen batch norms, which would keep a mean of 0 and a variance "
            "of 1: set config.train.freeze_statistics=False"
        )
    return functools.partial(
        warm_start_state,
        model.init_from,
        optimizer=config.optimizer.name if model.init_optimizer else None,
        head=model.init_head,
        classes=Classes(class_names, model.class_outputs),
        allow_missing=tuple(model.allow_missing),
        settings=training_settings(config),
        any_input=model.init_any_input,
        statistics=model.init_statistics,
    )


def _make_init(config: ConfigDict, model: ResNet, optimizer: optax.GradientTransformation) -> Callable[[], TrainState]:
    """Returns the function that makes the state of step 0."""
    scaled = config.loss.scale != 1 or config.loss.scale_growth_steps is not None
    return make_init(
        model=model,
        optimizer=optimizer,
        image_size=config.data.image_size,
        seed=config.seed,
        averages=config.ema.decay > 0,
        loss_scale=config.loss.scale if scaled else None,
    )


def _make_train_step(
    config: ConfigDict,
    gradient_fn: GradientFn,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
) -> steps.TrainStep:
    ema = config.ema
    return steps.make_update_step(
        gradient_fn=gradient_fn,
        optimizer=optimizer,
        schedule=schedule,
        average=functools.partial(update_average, decay=ema.decay, every_steps=ema.every_steps) if ema.decay else None,
        scaling=steps.LossScaling(config.loss.scale, config.loss.scale_growth_steps),
        seed=config.seed,
    )


def _over_batch(config: ConfigDict, gradient_fn: GradientFn, mesh: Mesh, num_microbatches: int) -> GradientFn:
    """Extends a gradient function to a whole batch: accumulates over micro-batches and sums over devices.

    If no batch norm group is split over devices, each device sums the gradients of its own images, and one all-reduce
    sums these over the devices. Otherwise XLA also inserts all-reduces of batch norm statistics into the network.
    """
    dtype, names = config.train.reduce_dtype, ("float32", "bfloat16")
    if dtype not in names:
        raise UsageError(f"config.train.reduce_dtype={dtype!r} is not one of {', '.join(names)}")
    local = whole_groups_per_device(config, mesh.size, num_microbatches)
    if num_microbatches > 1:
        split = (
            split_into_microbatches(num_microbatches)
            if local
            else make_microbatch_split(mesh, num_microbatches=num_microbatches)
        )
        gradient_fn = accumulate(gradient_fn, split)
    if mesh.size > 1 and local:
        return sum_over_devices(gradient_fn, mesh, dtype=jnp.dtype(dtype))
    if mesh.size > 1 and dtype == "bfloat16":
        raise UsageError(
            f"config.train.reduce_dtype='bfloat16' needs whole batch norm groups on each of {mesh.size} devices: set "
            f"config.model.bn_group_size to a divisor of {config.data.batch_size // num_microbatches // mesh.size}"
        )
    return gradient_fn


def make_train_input_of(config: ConfigDict, *, group_size: int | None) -> TrainInput:
    """Returns the function that augments, normalizes and mixes a batch on the devices.

    Args:
      config: has the keys of `configs/default.py`.
      group_size: number of images in a batch norm group, within which images are mixed; None: the whole batch.

    Raises:
      UsageError: there is no second image in a group to mix with.
    """
    erasing, mixing = dict(config.input.erasing), dict(config.mixing)
    mixes = mixing["mixup_alpha"] > 0 or mixing["cutmix_alpha"] > 0
    if mixes and group_size == 1:
        raise UsageError("config.model.bn_group_size=1 leaves no second image to mix with in a group: set 2 or more")
    return make_train_input(
        preprocess=make_preprocess(config),
        flip=config.input.flip and not config.data.flip_before_resize,
        erasing=Erasing(**erasing) if erasing["probability"] else None,
        mixing=Mixing(**mixing, group_size=group_size) if mixes and mixing["probability"] else None,
    )


def _make_loss(config: ConfigDict) -> Loss:
    return create_loss(
        config.loss.name,
        label_smoothing=config.loss.label_smoothing,
        target_threshold=config.loss.target_threshold,
    )


def make_preprocess(config: ConfigDict) -> Preprocess:
    """Returns the function that turns pixels [B, H, W, 3] uint8 into the float32 input of the network."""
    if config.input.per_image:
        return functools.partial(standardize_per_image, dtype=jnp.float32)
    mean, std = tuple(config.input.mean), tuple(config.input.std)
    return functools.partial(normalize, mean=mean, std=std, dtype=jnp.float32)


def variable_shapes(model: ResNet, image_size: int) -> dict[str, Any]:
    """Returns the shapes and dtypes of the network's 'params' and 'batch_stats', without computing values."""
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)


def _weights_to_evaluate(config: ConfigDict) -> WeightsKind:
    """Returns which weights are evaluated during training, 'trained' or 'ema'. Raises UsageError if there are none."""
    weights, has_average = config.eval.weights, config.ema.decay > 0
    if weights is None:
        return "ema" if has_average else "trained"
    if weights not in get_args(WeightsKind):
        raise UsageError(f"config.eval.weights={weights!r} is not one of {', '.join(get_args(WeightsKind))}")
    if weights == "ema" and not has_average:
        raise UsageError("config.eval.weights='ema' without an average: set config.ema.decay, for example to 0.9999")
    return weights
