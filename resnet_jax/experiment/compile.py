"""Compiles the training, evaluation and prediction steps, and makes the initial training state."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.stages import Compiled

from resnet_jax.data.batch import Batch, DeviceBatch, abstract_batch
from resnet_jax.data.loader import Loader
from resnet_jax.distributed.mesh import over_batch, put_on_devices, replicated
from resnet_jax.experiment.inference import Inference
from resnet_jax.experiment.parts import EvalComputation, Experiment
from resnet_jax.training.metrics import Answers, Totals
from resnet_jax.training.state import TrainState, abstract_state
from resnet_jax.training.steps import answer


def initial_state(experiment: Experiment, *, r1_checkpoint: Path | None = None) -> TrainState:
    """Makes the training state from which a run starts, replicated on all devices.

    Args:
      experiment: the training run.
      r1_checkpoint: prefix of a checkpoint of the r1.x ResNet of the TensorFlow Models repository, whose run is
        continued; None: the state is that of step 0.

    Raises:
      UsageError: the checkpoint, or the weights of `model.init_from`, cannot be loaded.
    """
    computation, loaded = experiment.computation, None
    if r1_checkpoint is not None:
        loaded = computation.continue_r1(r1_checkpoint, jax.eval_shape(computation.init))
    elif computation.warm_start:
        loaded = computation.warm_start(jax.eval_shape(computation.init))
    # On CPUs, making the random initial weights takes 10 s at XLA's default optimization level. Level 1 is faster and
    # gives the same values.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    sharding = replicated(computation.mesh)
    state = jax.jit(computation.init, out_shardings=sharding, compiler_options=options)()
    return state if loaded is None else _with_loaded(state, loaded)


def compile_train_steps(experiment: Experiment) -> dict[int, Compiled]:
    """Compiles the training step for each size of training images, in pixels. The step donates its input state."""
    return {size: compile_train_step(experiment, size) for size in experiment.data.train_loader.image_sizes}


def compile_train_step(experiment: Experiment, image_size: int) -> Compiled:
    """Compiles the training step for images of `image_size` pixels; the devices need not be attached."""
    computation = experiment.computation
    whole, rows = replicated(computation.mesh), over_batch(computation.mesh)
    jitted = jax.jit(computation.train_step, donate_argnums=0, in_shardings=(whole, rows), out_shardings=(whole, whole))
    state = abstract_state(computation.init, whole)
    return jitted.lower(state, _abstract_batch(experiment.data.train_loader, image_size, computation.mesh)).compile()


def compile_eval_step(computation: EvalComputation, loader: Loader) -> Compiled:
    """Compiles the evaluation step for the batches of a loader."""
    whole, rows = replicated(computation.mesh), over_batch(computation.mesh)
    jitted = jax.jit(computation.eval_step, in_shardings=(whole, rows), out_shardings=whole)
    batch = _abstract_batch(loader, loader.image_size_at(0), computation.mesh)
    return jitted.lower(_abstract_variables(computation), batch).compile()


class EvalStepWithAnswers:
    """The compiled evaluation step that also returns labels and predictions (`Answers`) of the batch on every process.

    A second program computes the predictions from the logits. In a single program, XLA would compute the losses and the
    probabilities together, and round the losses differently than in the evaluations during training.
    """

    def __init__(self, computation: EvalComputation, loader: Loader):
        """Compiles both programs for the batches of a loader."""
        whole, rows = replicated(computation.mesh), over_batch(computation.mesh)
        step = jax.jit(computation.eval_step.with_logits, in_shardings=(whole, rows), out_shardings=(whole, rows))
        batch = _abstract_batch(loader, loader.image_size_at(0), computation.mesh)
        self._step = step.lower(_abstract_variables(computation), batch).compile()
        _, logits = step.eval_shape(_abstract_variables(computation), batch)
        logits = jax.ShapeDtypeStruct(logits.shape, logits.dtype, sharding=rows)
        self.answer = jax.jit(answer, out_shardings=whole).lower(logits, batch.label, batch.mask).compile()

    def __call__(self, variables: dict[str, Any], batch: DeviceBatch) -> tuple[Totals, Answers]:
        """Computes `EvalStep.with_answers`."""
        totals, logits = self._step(variables, batch)
        return totals, self.answer(logits, batch.label, batch.mask)


def compile_predict_step(inference: Inference, batch_size: int) -> Compiled:
    """Compiles the prediction step for batches of `batch_size` images."""
    whole, rows = replicated(inference.mesh), over_batch(inference.mesh)
    side = inference.preprocessing.image_size
    images = jax.ShapeDtypeStruct((batch_size, side, side, 3), jnp.uint8, sharding=rows)
    jitted = jax.jit(inference.predict_step, in_shardings=(whole, rows), out_shardings=whole)
    return jitted.lower(_abstract_variables(inference), images).compile()


def _abstract_variables(network: EvalComputation | Inference) -> dict[str, Any]:
    whole = replicated(network.mesh)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), network.shapes)


def _abstract_batch(loader: Loader, image_size: int, mesh: Mesh) -> Batch[jax.ShapeDtypeStruct]:
    return abstract_batch(batch_size=loader.batch_size, image_size=image_size, sharding=over_batch(mesh))


def _with_loaded(state: TrainState, loaded: TrainState) -> TrainState:
    """Returns `state` with its arrays replaced by those of `loaded`, except where `loaded` has only shapes.

    If `state` has a moving average of the weights and `loaded` has none, the average is a copy of the loaded weights.
    """

    def choose(own: jax.Array, other: Any) -> jax.Array:
        return put_on_devices(other, own.sharding) if isinstance(other, np.ndarray) else own

    merged = jax.tree.map(choose, state, loaded)
    if state.average is None or any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(loaded.average)):
        return merged
    return dataclasses.replace(merged, average=jax.tree.map(jnp.copy, merged.variables))
