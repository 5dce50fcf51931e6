"""Programs and short runs of the tiny experiment, each compiled once in a process, all from the same random weights."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from resnet_jax import experiment
from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.experiment.compile import compile_train_step, initial_state
from resnet_jax.programs.evaluation.evaluator import Evaluator
from resnet_jax.training import loss_scale
from tests.tiny import tiny_config

BASE = {
    "loss.label_smoothing": 0.1,
    "model.zero_init_last_bn": False,
    "optimizer.weight_decay": 0.01,
    "schedule.warmup_epochs": 0.0,
}
# Two batch norm groups on each of eight devices.
EVERYTHING = {
    "data.batch_size": 96,
    "mixing.mixup_alpha": 0.2,
    "mixing.cutmix_alpha": 1.0,
    "input.erasing.probability": 0.5,
    "input.erasing.noise": True,
    "model.stochastic_depth": 0.5,
    "ema.decay": 0.9,
}


class Run(NamedTuple):
    """States and totals of a run, on the host."""

    states: list[Any]  # the first state, and that after each step
    totals: list[Any]  # of each step


def _cached(function):
    """Caches a function of (devices, changes of the config, ...)."""
    cached = functools.cache(lambda devices, changes, *others: function(devices, dict(changes), *others))
    return lambda devices=1, changes=None, *others: cached(devices, tuple(sorted((changes or {}).items())), *others)


@_cached
def build(devices, changes):
    return experiment.build(tiny_config(BASE | changes), devices=jax.devices()[:devices])


@_cached
def train_step(devices, changes):
    """Returns the compiled training step."""
    return compile_train_step(build(devices, changes), 12)


@functools.cache
def _random_state():
    return jax.device_get(initial_state(build()))


def first_state(devices=1, changes=None):
    """Returns the state of step 0, on the host; `test_state.py` tests that it is the same on any number of devices."""
    state, wanted = _random_state(), jax.eval_shape(build(devices, changes).computation.init)
    scale = tiny_config(changes).loss.scale
    return state.replace(
        opt_state=jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), wanted.opt_state),
        average=state.variables if wanted.average else None,
        loss_scale=jax.device_get(loss_scale.initial(scale)) if wanted.loss_scale else None,
    )


def batches(built, steps):
    """Returns an iterator of the first training batches, on the devices."""
    loaded = host_batches(built.data.train_loader, start=0, stop=steps, num_threads=0, num_workers=0)
    return device_batches((each.batch for each in loaded), mesh=built.computation.mesh)


@_cached
def run(devices, changes, steps):
    state, compiled = first_state(devices, changes), train_step(devices, changes)
    states, all_totals = [state], []
    for batch in batches(build(devices, changes), steps):
        state, totals = compiled(state, batch)
        states.append(jax.device_get(state))
        all_totals.append(jax.device_get(totals))
    return Run(states, all_totals)


def new_evaluator(devices=1, changes=None, requests=None):
    built = build(devices, changes)
    bad_examples = BadExamples(Path("never_written.jsonl"), at_most=0)
    return Evaluator(built.computation, built.data, bad_examples, requests or StopRequests())


evaluator = _cached(new_evaluator)  # for the same devices and changes, the same one
