"""Measures parameters, gradients and layer outputs of a single training step, for --mode=replay."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.data.batch import DeviceBatch
from resnet_jax.distributed.mesh import over_batch, put_on_devices, replicated
from resnet_jax.experiment.parts import Computation
from resnet_jax.training.gradients import IndexedBatch
from resnet_jax.training.layer_probe import (
    INPUT,
    LOSS,
    ParameterReport,
    Probed,
    layer_names,
    make_probe,
    report_parameters,
)
from resnet_jax.training.state import TrainState


class LayerReport(NamedTuple):
    """Largest absolute values in the forward and backward pass, for each of the B examples of a batch, on the host.

    A row of `forward` belongs to the input of the network (the first row), to the output of one of the L layers, or to
    the loss (the last row). A row of `backward` belongs to the gradient with respect to the output of one layer. If any
    of the values is NaN, the largest one is NaN.
    """

    forward_names: tuple[str, ...]
    forward: np.ndarray  # [L + 2, B] float32
    backward_names: tuple[str, ...]
    backward: np.ndarray  # [L, B] float32


def report_step(computation: Computation, state: TrainState, batch: DeviceBatch) -> ParameterReport:
    """Computes the gradients of a step as the training step does; returns a report on parameters and gradients."""

    def report(state: TrainState, batch: DeviceBatch) -> ParameterReport:
        scale = _scale(state)
        gradients = computation.gradient_fn(state.variables, _indexed(batch), _key(computation, state), scale)
        return report_parameters(state.params, gradients, scale)

    whole, rows = replicated(computation.mesh), over_batch(computation.mesh)
    compiled = jax.jit(report, in_shardings=(whole, rows), out_shardings=whole)
    found: ParameterReport = jax.device_get(compiled(state, batch))
    return found


def probe_layers(computation: Computation, state: TrainState, batch: DeviceBatch) -> LayerReport:
    """Measures, for each example of a batch, the output of each layer and the gradient with respect to this output."""
    probe, whole, rows = make_probe(computation.forward_fn), replicated(computation.mesh), over_batch(computation.mesh)

    def measure(state: TrainState, indexed: IndexedBatch) -> Probed:
        return probe(state.variables, indexed, _key(computation, state), _scale(state))

    compiled = jax.jit(measure, in_shardings=(whole, rows), out_shardings=whole)
    parts = _microbatches(computation, batch)
    names = layer_names(computation.forward_fn, state.variables, parts[0], _key(computation, state))
    found = [jax.device_get(compiled(state, part)) for part in parts]
    forward = [np.vstack([one.inputs, one.outputs, one.losses]) for one in found]
    backward = [one.gradients for one in found]
    return LayerReport((INPUT, *names, LOSS), np.hstack(forward), names, np.hstack(backward))


def _microbatches(computation: Computation, batch: DeviceBatch) -> list[IndexedBatch]:
    """Splits a batch into consecutive micro-batches of whole batch norm groups; shards each over the devices."""
    indexed = jax.device_get(_indexed(batch))
    size = len(indexed.row_numbers) // computation.num_microbatches
    rows = over_batch(computation.mesh)

    def part(number: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[number * size : (number + 1) * size], indexed)

    return [put_on_devices(part(number), rows) for number in range(computation.num_microbatches)]


def _indexed(batch: DeviceBatch) -> IndexedBatch:
    return IndexedBatch(batch, jnp.arange(len(batch.label), dtype=jnp.int32))


def _key(computation: Computation, state: TrainState) -> jax.Array:
    return jax.random.fold_in(jax.random.key(computation.seed), state.step)


def _scale(state: TrainState) -> jax.Array | float:
    # Without a loss scale in the state, the loss is not scaled: see `_make_init` in computation.py.
    return state.loss_scale.scale if state.loss_scale else 1.0
