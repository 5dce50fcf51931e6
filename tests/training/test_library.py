"""Signatures and defaults for library users, and the training step that `make_train_step` builds."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import resnet50
from resnet_jax import experiment
from resnet_jax.data.batch import Batch, abstract_batch
from resnet_jax.data.on_device import Erasing, Mixing
from resnet_jax.distributed.mesh import make_mesh, over_batch, replicated
from resnet_jax.errors import UsageError
from resnet_jax.training.gradients import imagenet_input
from resnet_jax.training.losses import create_loss
from resnet_jax.training.optimizers import create_optimizer
from resnet_jax.training.schedules import create_schedule
from resnet_jax.training.state import abstract_state, make_init
from resnet_jax.training.steps import LossScaling, make_train_step
from resnet_jax.training.trainable import train_only
from tests.models.networks import tiny
from tests.tiny import tiny_config

RECIPE = resnet50.get_config()


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def test_the_defaults_are_those_of_the_main_recipe():
    assert defaults(create_optimizer) == dict(RECIPE.optimizer)
    assert defaults(create_loss) == {key: RECIPE.loss[key] for key in ("name", "label_smoothing", "target_threshold")}
    found = defaults(create_schedule)
    in_steps = {"decay_steps": None, "warmup_steps": 0, "boundaries": ()}  # in epochs in a recipe
    assert found == in_steps | {key: RECIPE.schedule[key] for key in found.keys() - in_steps.keys()}
    assert imagenet_input.keywords == {"mean": RECIPE.input.mean, "std": RECIPE.input.std, "dtype": jnp.float32}
    found = defaults(make_train_step)
    assert (found["flip"], found["seed"]) == (RECIPE.input.flip, RECIPE.seed)
    assert found["scaling"] == (RECIPE.loss.scale, RECIPE.loss.scale_growth_steps)
    assert found["ema_decay"] == RECIPE.ema.decay
    assert defaults(make_init) == {
        "image_size": RECIPE.data.image_size,
        "seed": RECIPE.seed,
        "averages": RECIPE.ema.decay > 0,
        "loss_scale": None,
    }


def test_a_decay_needs_its_end():
    for name in ("cosine", "polynomial", "linear"):
        with pytest.raises(UsageError, match=f"schedule '{name}' needs decay_steps"):
            create_schedule(name, peak_lr=0.1)
    assert float(create_schedule("constant", peak_lr=0.1)(10**6)) == pytest.approx(0.1)
    with pytest.raises(UsageError, match="has 4 entries and config.schedule.boundaries 0"):
        create_schedule("piecewise", peak_lr=0.1)


EVERYTHING = {
    "data.batch_size": 96,
    "loss.label_smoothing": 0.1,
    "loss.scale": 8.0,
    "loss.scale_growth_steps": 2,
    "mixing.mixup_alpha": 0.2,
    "mixing.cutmix_alpha": 1.0,
    "input.erasing.probability": 0.5,
    "model.stochastic_depth": 0.5,
    "optimizer.clip_norm": 1.0,
    "ema.decay": 0.9,
    "train.accumulate": 2,
    "train.trainable": "head",
    "seed": 3,
}


def by_hand(config, model, devices):
    """The step and the first state of a config, made without it."""
    optimizer, options = create_optimizer(**config.optimizer), {}
    if config.ema.decay:
        optimizer = train_only(optimizer, "^head/")
        options = {
            "erasing": Erasing(**config.input.erasing),
            "mixing": Mixing(**config.mixing, group_size=config.model.bn_group_size),
            "trainable": "^head/",
            "ema_decay": config.ema.decay,
            "scaling": LossScaling(config.loss.scale, config.loss.scale_growth_steps),
            "num_microbatches": config.train.accumulate,
            "seed": config.seed,
        }
    steps = config.train.epochs * 100 / config.data.batch_size
    step = make_train_step(
        model=model,
        optimizer=optimizer,
        schedule=create_schedule(
            peak_lr=0.1 * config.data.batch_size / 256, warmup_steps=int(steps / 10), decay_steps=round(steps)
        ),
        loss=create_loss(label_smoothing=config.loss.label_smoothing),
        mesh=make_mesh(jax.devices()[:devices]),
        **options,
    )
    scale = config.loss.scale if config.loss.scale != 1 else None
    init = make_init(
        model=model, optimizer=optimizer, image_size=12, seed=config.seed, averages=bool(options), loss_scale=scale
    )
    return step, init


ONE, EIGHT = ({}, 1), (EVERYTHING, 8)
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in (({}, 8), (EVERYTHING, 1))]


@pytest.mark.parametrize(("changes", "devices"), [ONE, EIGHT, *SLOW])
def test_the_step_is_that_of_an_experiment(changes, devices):
    config = tiny_config(changes)
    computation = experiment.build(config, devices=jax.devices()[:devices]).computation
    step, init = by_hand(config, computation.model, devices)
    assert jax.eval_shape(init) == jax.eval_shape(computation.init)
    assert str(jax.make_jaxpr(init)()) == str(jax.make_jaxpr(computation.init)())
    mesh = computation.mesh
    state = abstract_state(init, replicated(mesh))
    batch = abstract_batch(batch_size=config.data.batch_size, image_size=12, sharding=over_batch(mesh))
    assert str(jax.make_jaxpr(step)(state, batch)) == str(jax.make_jaxpr(computation.train_step)(state, batch))


def batch_of(size, image_size=8):
    pixels = np.random.default_rng(0).integers(0, 256, (size, image_size, image_size, 3), np.uint8)
    return Batch(pixels, np.arange(size, dtype=np.int32) % 10, np.ones(size, bool))


def test_it_trains_with_nothing_but_a_model_an_optimizer_and_a_schedule():
    model, optimizer = tiny((1,), depth=18), create_optimizer(momentum=0.0)
    step = make_train_step(model=model, optimizer=optimizer, schedule=create_schedule("constant", peak_lr=0.5))
    step, state = jax.jit(step), jax.jit(make_init(model=model, optimizer=optimizer, image_size=8))()
    losses = []
    for _ in range(20):
        state, totals = step(state, batch_of(16))
        losses.append(float(totals.examples.loss))
    assert int(state.step) == 20 and losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_microbatches": 2},
            "1 devices and 2 micro-batches .* bn_group_size, now None, to a divisor of 8, the images",
        ),
        ({"mesh": 2}, "2 devices and 1 micro-batches .* bn_group_size, now None, to a divisor of 8, the images"),
        ({"ema_decay": 0.9}, "must both keep a moving average, or neither"),
    ],
)
def test_what_does_not_fit_is_an_error_while_tracing(options, message):
    if "mesh" in options:
        options = {"mesh": make_mesh(jax.devices()[: options["mesh"]])}
    model, optimizer = tiny((1,), depth=18), create_optimizer()
    schedule = create_schedule(peak_lr=0.1, decay_steps=10)
    step = make_train_step(model=model, optimizer=optimizer, schedule=schedule, **options)
    state = jax.eval_shape(make_init(model=model, optimizer=optimizer, image_size=8))
    with pytest.raises(UsageError, match=message):
        jax.eval_shape(step, state, batch_of(16))
