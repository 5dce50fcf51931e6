"""The dtype of the all-reduce of the gradients; `test_steps.py` counts all-reduces and compares 1 and 8 devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.batch import Batch, abstract_batch
from resnet_jax.data.feed import device_batches
from resnet_jax.distributed.mesh import over_batch
from resnet_jax.errors import UsageError
from resnet_jax.experiment.compile import compile_train_step, initial_state
from tests.tiny import tiny_config

EIGHT = {"data.batch_size": 96, "model.bn_group_size": 6}  # two groups on each of eight devices


def build(changes, devices=8):
    return experiment.build(tiny_config(EIGHT | changes), devices=jax.devices()[:devices])


def one_step(changes, devices=8):
    """Returns the change of the parameters in one step from random initial ones, and the totals."""
    built = build({"schedule.warmup_epochs": 0.0} | changes, devices)
    state = initial_state(built)
    before = jax.tree.map(np.asarray, state.params)
    batch = built.data.train_loader.batch(0).batch
    step = compile_train_step(built, 12)
    after, totals = step(state, next(device_batches(iter([Batch(*batch)]), mesh=built.computation.mesh)))
    return jax.tree.map(lambda new, old: np.asarray(new) - old, after.params, before), jax.device_get(totals)


def relative_gap(one, other):
    """Returns |one - other| / |other| over all parameters."""
    flat = [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in (one, other)]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


def summed_kernels(changes):
    """Returns the dtypes in which the jaxpr of the step all-reduces gradients of 3x3 kernels.

    The compiled program would not tell: XLA:CPU replaces bfloat16 all-reduces by float32 ones.
    """
    built = build(changes)
    batch = abstract_batch(batch_size=96, image_size=12, sharding=over_batch(built.computation.mesh))
    step = str(jax.make_jaxpr(built.computation.train_step)(jax.eval_shape(built.computation.init), batch))
    return set(re.findall(r":(\w+)\[3,3,[\d,]*\] = psum", step))


@pytest.mark.parametrize(
    ("changes", "dtype"), [({"model.dtype": "bfloat16"}, "f32"), ({"train.reduce_dtype": "bfloat16"}, "bf16")]
)
def test_the_dtype_of_the_all_reduce_is_that_of_the_config(changes, dtype):
    assert summed_kernels(changes) == {dtype}


@pytest.mark.slow
def test_bfloat16_rounds_the_gradient_and_nothing_else():
    exact, exact_totals = one_step({})
    rounded, totals = one_step({"train.reduce_dtype": "bfloat16"})
    assert 1e-4 < relative_gap(rounded, exact) < 2**-7  # the sum of eight numbers with 8 bits of precision
    assert totals.examples == exact_totals.examples
    alone, _ = one_step({}, devices=1)
    assert relative_gap(exact, alone) < 1e-5


def test_bfloat16_needs_whole_groups_on_a_device():
    with pytest.raises(UsageError, match=r"'bfloat16' needs whole batch norm groups .* 8 devices: .* a divisor of 12$"):
        build({"train.reduce_dtype": "bfloat16", "model.bn_group_size": 96})
    with pytest.raises(UsageError, match="'float16' is not one of float32, bfloat16"):
        build({"train.reduce_dtype": "float16"})


@pytest.mark.slow
def test_counts_are_integers():
    _, totals = one_step({})
    assert totals.examples.count.dtype == jnp.int32 and totals.examples.count == 96
