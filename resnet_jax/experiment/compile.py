"""The compiled programs of an experiment."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled

from resnet_jax.data.batch import Batch, abstract_batch
from resnet_jax.data.loader import Loader
from resnet_jax.distributed.mesh import over_batch, put_on_devices, replicated
from resnet_jax.experiment import Experiment, Inference
from resnet_jax.training.state import TrainState, abstract_state


def initial_state(experiment: Experiment) -> TrainState:
    """The state of step 0, on all devices.

    Raises:
      UsageError: it is to begin with the weights of another run, and they cannot be had.
    """
    variables = jax.eval_shape(experiment.init).variables
    given = experiment.warm_start(variables) if experiment.warm_start else variables
    # XLA:CPU takes 10 s over the random numbers at its usual level; the values are the same at level 1.
    on_cpu = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 1} if on_cpu else None
    state = jax.jit(experiment.init, out_shardings=replicated(experiment.mesh), compiler_options=options)()
    return _with_variables(state, given)


def compile_train_steps(experiment: Experiment) -> dict[int, Compiled]:
    """Compiles the training step for every image size, ahead of the first batch; the state is donated."""
    return {size: compile_train_step(experiment, size) for size in experiment.train_loader.image_sizes}


def compile_train_step(experiment: Experiment, image_size: int) -> Compiled:
    """Compiles the training step for images of so many pixels; the devices need not be there."""
    whole, rows = replicated(experiment.mesh), over_batch(experiment.mesh)
    jitted = jax.jit(experiment.train_step, donate_argnums=0, in_shardings=(whole, rows), out_shardings=(whole, whole))
    state = abstract_state(experiment.init, whole)
    return jitted.lower(state, _abstract_batch(experiment, experiment.train_loader, image_size)).compile()


def compile_eval_step(experiment: Experiment, *, with_answers: bool = False) -> Compiled:
    """Compiles the evaluation step, or `EvalStep.with_answers` of it, whose answers every process then has."""
    whole, rows = replicated(experiment.mesh), over_batch(experiment.mesh)
    step = experiment.eval_step.with_answers if with_answers else experiment.eval_step
    jitted = jax.jit(step, in_shardings=(whole, rows), out_shardings=whole)
    loader, variables = experiment.eval_loader, abstract_state(experiment.init, whole).variables
    return jitted.lower(variables, _abstract_batch(experiment, loader, loader.image_size_at(0))).compile()


def compile_predict_step(inference: Inference, batch_size: int) -> Compiled:
    """Compiles the prediction step for so many images at once."""
    whole, rows = replicated(inference.mesh), over_batch(inference.mesh)
    side = inference.preprocessing.image_size
    images = jax.ShapeDtypeStruct((batch_size, side, side, 3), jnp.uint8, sharding=rows)
    variables = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), inference.shapes
    )
    jitted = jax.jit(inference.predict_step, in_shardings=(whole, rows), out_shardings=whole)
    return jitted.lower(variables, images).compile()


def _abstract_batch(experiment: Experiment, loader: Loader, image_size: int) -> Batch[jax.ShapeDtypeStruct]:
    return abstract_batch(batch_size=loader.batch_size, image_size=image_size, sharding=over_batch(experiment.mesh))


def _with_variables(state: TrainState, given: dict[str, Any]) -> TrainState:
    """Puts numpy arrays in place of the variables; where there are only shapes, the state keeps its own."""

    def choose(own: jax.Array, other: Any) -> jax.Array:
        return put_on_devices(other, own.sharding) if isinstance(other, np.ndarray) else own

    variables = jax.tree.map(choose, state.variables, given)
    average = None if state.average is None else jax.tree.map(jnp.copy, variables)
    return dataclasses.replace(state, **variables, average=average)


_KEY = "jax_compilation_cache_dir"


def keep_programs() -> None:
    """Has JAX keep what it compiles for accelerators, where minutes go into it, unless the user says where or not.

    In `~/.cache/resnet_jax/xla`, or below `XDG_CACHE_HOME`. Programs for CPUs are quick to compile, and one that was
    made on another machine may not run on this.
    """
    if getattr(jax.config, _KEY) is not None or jax.default_backend() == "cpu":
        return
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "resnet_jax", "xla")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that may not be written to: nothing is kept
        return
    jax.config.update(_KEY, str(directory))
