"""Short training runs within the process of the test; those that compile the same share the compiled programs."""

import dataclasses

import jax

from resnet_jax import experiment
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.config_keys import Effect
from resnet_jax.configs import default
from resnet_jax.experiment.compile import compile_train_steps
from tests.tiny import tiny_config

FREE = {key.name for key in default.KEYS if key.effect is Effect.FREE}  # no compiled program depends on these
COMPUTATIONS, PROGRAMS = {}, {}


def build(changes):
    """Returns an experiment of six steps; those that differ in nothing that is compiled have one computation."""
    settings = {"train.total_steps": 6, "eval.every_steps": 4, "log.every_steps": 1} | changes
    built = experiment.build(tiny_config(settings))
    compiled = str(sorted((key, value) for key, value in settings.items() if key not in FREE))
    return dataclasses.replace(built, computation=COMPUTATIONS.setdefault(compiled, built.computation))


def compile_once(built):
    """Returns the compiled training steps of an experiment, those of the first experiment with its computation."""
    key = id(built.computation)  # COMPUTATIONS keeps it alive
    if key not in PROGRAMS:
        PROGRAMS[key] = compile_train_steps(built)
    return PROGRAMS[key]


def restore(workdir, built):
    """Returns the newest checkpoint: the state and the metadata."""
    with Checkpoints(workdir.checkpoints, keep_latest=2, keep_best=1) as checkpoints:
        abstract = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), jax.eval_shape(built.computation.init)
        )
        with jax.default_device(jax.devices()[0]):
            return checkpoints.restore_latest(abstract)
