"""A small training state for the tests of checkpoints."""

import functools

import jax
import jax.numpy as jnp

from resnet_jax.distributed.mesh import make_mesh, replicated
from resnet_jax.training.loss_scale import initial
from resnet_jax.training.state import TrainState


def state(step, size=3):
    """A state whose values depend on the step."""
    array = functools.partial(jnp.full, size, dtype=jnp.float32)
    return TrainState(
        step=jnp.int32(step),
        params={"w": array(step)},
        batch_stats={"m": array(-step)},
        opt_state=({"v": array(0.5)},),
        average=None,
        loss_scale=initial(2.0**step),
    )


def abstract(size=3, devices=1):
    """The shapes and shardings of that state on `devices` devices; None: on all."""
    sharding = replicated(make_mesh(jax.devices()[:devices]))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), state(0, size))


def fill(checkpoints, top1_by_step):
    """Saves a state for each step, with its accuracy."""
    for step, top1 in top1_by_step.items():
        checkpoints.save(step, state(step), meta={"step": step}, top1=top1)


def steps_on_disk(checkpoints):
    """The steps in the directory. Fails if it contains anything but checkpoints."""
    return sorted(int(path.name) for path in checkpoints.directory.iterdir())
