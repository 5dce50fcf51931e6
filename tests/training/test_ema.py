import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.training.ema import update_average
from tests import paths

GOLDEN = json.loads((paths.GOLDEN / "moving_average.json").read_text())  # by golden/r1_training.py


def run(values, *, decay, every_steps=1):
    """Returns the average after each step. Step k makes values[k + 1] the parameters and twice that the statistics."""
    update = jax.jit(lambda old, new, step: update_average(old, new, step=step, decay=decay, every_steps=every_steps))
    trees = [{"params": {"kernel": value}, "batch_stats": 2 * value} for value in jnp.asarray(values, jnp.float32)]
    average, averages = trees[0], []
    for step, new in enumerate(trees[1:]):
        average = update(average, new, jnp.int32(step))
        np.testing.assert_allclose(average["batch_stats"], 2 * average["params"]["kernel"], rtol=1e-6)
        averages.append(np.asarray(average["params"]["kernel"]))
    return np.array(averages)


@pytest.mark.parametrize("name", GOLDEN)
def test_it_is_tensorflows_exponential_moving_average(name):
    case = GOLDEN[name]  # the weight reaches a decay of 0.5 at update 8; it does not reach 0.999
    np.testing.assert_allclose(run(case["values"], decay=case["decay"]), case["averages"], rtol=1e-5, atol=1e-7)


def test_the_first_updates_forget_the_initial_values():
    averages = run([[1.0], [0.0], [0.0], [0.0]], decay=0.9999)
    np.testing.assert_allclose(averages[:, 0], np.cumprod([1 / 10, 2 / 11, 3 / 12]), rtol=1e-6)


def test_steps_between_updates_keep_it_bit_for_bit():
    values = np.random.default_rng(0).normal(size=(14, 5))
    averages = run(values, decay=0.9, every_steps=4)  # at steps 0, 4, 8 and 12
    for step in range(1, 13):
        assert (averages[step] == averages[step - 1]).all() == (step % 4 != 0)
    seldom = run(
        values[[0, 1, 5, 9, 13]], decay=0.9
    )  # equals an update at every step on the values of steps 0, 4, 8 and 12
    np.testing.assert_array_equal(averages[[0, 4, 8, 12]], seldom)


def test_a_long_average_keeps_its_weight_in_float32():
    # 1 - 0.99999 computed in float32 is 1.001e-5, an error of 0.1 %.
    update = jax.jit(lambda old, new: update_average(old, new, step=jnp.int32(2**30), decay=0.99999, every_steps=1))
    assert float(update(jnp.float32(0.0), jnp.float32(1.0))) == pytest.approx(1e-5, rel=1e-6)


def test_the_average_of_a_constant_is_that_constant():
    assert (run(np.full((50, 1), 0.1), decay=0.99) == np.float32(0.1)).all()


def test_values_that_are_not_finite_between_updates_do_not_enter_it():
    averages = run([[1.0], [1.0], [np.inf], [np.nan], [1.0]], decay=0.9, every_steps=4)
    assert (averages == 1.0).all()
