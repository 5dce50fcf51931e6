"""The network of a config and what is computed with it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, get_args

import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.data.class_names import fingerprint
from resnet_jax.data.on_device import Erasing, Mixing, normalize, standardize_per_image
from resnet_jax.distributed.mesh import make_microbatch_split
from resnet_jax.errors import UsageError
from resnet_jax.experiment.batch_division import groups_on_devices
from resnet_jax.experiment.network import network_settings
from resnet_jax.models import create_model
from resnet_jax.models.resnet import ResNet
from resnet_jax.training import steps
from resnet_jax.training.ema import update_average
from resnet_jax.training.gradients import (
    GradientFn,
    Preprocess,
    accumulate,
    make_gradient_fn,
    make_train_input,
    split_into_microbatches,
)
from resnet_jax.training.losses import create_loss
from resnet_jax.training.optimizers import create_optimizer
from resnet_jax.training.schedules import Schedule
from resnet_jax.training.sharded_gradients import sum_over_devices
from resnet_jax.training.state import TrainState, WeightsKind, make_init
from resnet_jax.training.trainable import train_only, trainable_pattern
from resnet_jax.weights.warm_start import warm_start_variables


def check_image_sizes(config: ConfigDict) -> None:
    """Raises UsageError for sizes, of training or evaluation, that the stem cannot fold."""
    sizes = [*config.data.progressive.sizes, config.data.image_size, config.eval.image_size or config.data.image_size]
    odd = [size for size in sizes if size % 2]
    if odd and config.model.name == "resnet" and config.model.stem == "space_to_depth":
        raise UsageError(
            f"images of {odd[0]} pixels cannot be folded into squares of 2 x 2: take even sizes (data.image_size, "
            "data.progressive.sizes, eval.image_size), or config.model.stem='conv7', which is the same function"
        )


def make_model(config: ConfigDict, num_classes: int) -> ResNet:
    """The network, for data of so many classes.

    Raises:
      UsageError: it cannot be made, or has fewer outputs than that.
    """
    not_of_it = ("init_from", "init_head", "init_any_input", "allow_missing", "class_names")
    options = {key: value for key, value in config.model.items() if key not in not_of_it}
    if options["num_classes"] is None:
        options["num_classes"] = num_classes
    elif options["num_classes"] < num_classes:
        raise UsageError(
            f"config.model.num_classes={options['num_classes']} is less than the {num_classes} classes of the data"
        )
    return create_model(**options, trained_norms=trained_norms(config))


def trained_norms(config: ConfigDict) -> str:
    """The regular expression by which batch norms find whether their statistics move in training."""
    return trainable_pattern(config.train.trainable if config.train.freeze_statistics else None)


def make_optimizer(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """The optimizer of those parameters that are to be trained.

    Raises:
      UsageError: an unknown name, or options that contradict each other.
    """
    return train_only(create_optimizer(**config.optimizer), trainable_pattern(config.train.trainable))


def make_warm_start(
    config: ConfigDict, class_names: Sequence[str]
) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """The function that fills variables with those of another run; None: they begin at random.

    Raises:
      UsageError: the last layer is wanted of no run.
    """
    path, head = config.model.init_from, config.model.init_head
    if head and path is None:
        raise UsageError("config.model.init_head=True says of no run: set config.model.init_from")
    if path is None:
        return None
    return functools.partial(
        warm_start_variables,
        path,
        head=head,
        class_list=fingerprint(class_names),
        allow_missing=tuple(config.model.allow_missing),
        settings=network_settings(config),
        any_input=config.model.init_any_input,
    )


def make_first_state(
    config: ConfigDict, model: ResNet, optimizer: optax.GradientTransformation
) -> Callable[[], TrainState]:
    """The function that makes the state of step 0."""
    scaled = config.loss.scale != 1 or config.loss.scale_growth_steps is not None
    return make_init(
        model=model,
        optimizer=optimizer,
        image_size=config.data.image_size,
        seed=config.seed,
        averages=config.ema.decay > 0,
        loss_scale=config.loss.scale if scaled else None,
    )


def make_steps(
    config: ConfigDict,
    layout: tuple[Mesh, int],
    model: ResNet,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
) -> dict[str, Any]:
    """The two step functions by their names in `Experiment`, for a mesh and so many parts of a batch.

    Raises:
      UsageError: an unknown loss, or a reduction that cannot be had.
    """
    preprocess, ema = make_preprocess(config), config.ema
    train_step = steps.make_update_step(
        gradient_fn=_of_batch(config, _make_gradient_fn(config, model, preprocess), *layout),
        optimizer=optimizer,
        schedule=schedule,
        average=functools.partial(update_average, decay=ema.decay, every_steps=ema.every_steps) if ema.decay else None,
        scaling=steps.LossScaling(config.loss.scale, config.loss.scale_growth_steps),
        seed=config.seed,
    )
    eval_step = steps.EvalStep(model, preprocess)
    return {"train_step": train_step, "eval_step": eval_step}


def _of_batch(config: ConfigDict, gradient_fn: GradientFn, mesh: Mesh, parts: int) -> GradientFn:
    """The gradient of a whole batch, on all devices and in parts."""
    dtype, names = config.train.reduce_dtype, ("float32", "bfloat16")
    if dtype not in names:
        raise UsageError(f"config.train.reduce_dtype={dtype!r} is not one of {', '.join(names)}")
    local = groups_on_devices(config, mesh.size, parts)
    if parts > 1:
        gradient_fn = accumulate(
            gradient_fn,
            split_into_microbatches(parts) if local else make_microbatch_split(mesh, num_microbatches=parts),
        )
    if mesh.size > 1 and local:
        return sum_over_devices(gradient_fn, mesh, dtype=jnp.dtype(dtype))
    if mesh.size > 1 and dtype == "bfloat16":
        raise UsageError(
            f"config.train.reduce_dtype='bfloat16' needs whole batch norm groups on each of {mesh.size} devices: set "
            f"config.model.bn_group_size to a divisor of {config.data.batch_size // parts // mesh.size}"
        )
    return gradient_fn


def _make_gradient_fn(config: ConfigDict, model: ResNet, preprocess: Preprocess) -> GradientFn:
    erasing, mixing = dict(config.input.erasing), dict(config.mixing)
    mixes = mixing["mixup_alpha"] > 0 or mixing["cutmix_alpha"] > 0
    if mixes and config.model.bn_group_size == 1:
        raise UsageError("config.model.bn_group_size=1 leaves an image no partner to be mixed with: take 2 or more")
    train_input = make_train_input(
        preprocess=preprocess,
        flip=config.input.flip,
        erasing=Erasing(**erasing) if erasing["probability"] else None,
        mixing=Mixing(**mixing, group_size=config.model.bn_group_size) if mixes and mixing["probability"] else None,
    )
    loss = create_loss(
        config.loss.name,
        label_smoothing=config.loss.label_smoothing,
        target_threshold=config.loss.target_threshold,
    )
    pattern = trainable_pattern(config.train.trainable)
    return make_gradient_fn(model=model, train_input=train_input, loss=loss, trainable=pattern)


def make_preprocess(config: ConfigDict) -> Preprocess:
    """The function from pixels to the input of the network."""
    if config.input.per_image:
        return functools.partial(standardize_per_image, dtype=jnp.float32)
    mean, std = tuple(config.input.mean), tuple(config.input.std)
    return functools.partial(normalize, mean=mean, std=std, dtype=jnp.float32)


def weights_to_evaluate(config: ConfigDict) -> WeightsKind:
    """The trained ones or their average; raises UsageError for an unknown word, or where there is no average."""
    weights, has_average = config.eval.weights, config.ema.decay > 0
    if weights is None:
        return "ema" if has_average else "trained"
    if weights not in get_args(WeightsKind):
        raise UsageError(f"config.eval.weights={weights!r} is not one of {', '.join(get_args(WeightsKind))}")
    if weights == "ema" and not has_average:
        raise UsageError("config.eval.weights='ema', and there is no average: set config.ema.decay, as to 0.9999")
    return weights
