"""The max-pool after the stem is XLA's, forward and backward, without XLA's scatter."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models.max_pool import max_pool

XLA_PADDINGS = {"torch": ((1, 1), (1, 1)), "tf": "SAME"}
SIDES = [(8, 7), (2, 1)]  # an even and an odd side; an image smaller than the window
VALUES = {
    "distinct": lambda random, shape: random.normal(size=shape),
    "ties": lambda random, shape: random.integers(0, 2, shape),
    "negative": lambda random, shape: -1.0 - random.integers(0, 9, shape),
    "mostly -inf": lambda random, shape: np.where(random.random(shape) < 0.8, -np.inf, 0.5),
}


def xla_pool(x, padding):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=XLA_PADDINGS[padding])


@functools.partial(jax.jit, static_argnums=(0, 2))
def with_gradient(pool, x, padding, weights):
    """The result of a pool, and the gradient of the weighted sum of its values."""
    y, backward = jax.vjp(lambda x: pool(x, padding), x)
    return y, backward(weights.astype(y.dtype))[0]


def example(sides, values, dtype=jnp.float32):
    """Activations, and weights of the result whose sums round."""
    random = np.random.default_rng(0)
    x = jnp.asarray(VALUES[values](random, (2, *sides, 3)), dtype)
    return x, jnp.asarray(random.normal(size=(2, (sides[0] + 1) // 2, (sides[1] + 1) // 2, 3)), dtype)


@pytest.mark.parametrize("padding", XLA_PADDINGS)
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_result_and_gradient_are_xlas_bit_by_bit(sides, padding):
    for values in VALUES:
        x, weights = example(sides, values)
        got, wanted = (with_gradient(pool, x, padding, weights) for pool in (max_pool, xla_pool))
        jax.tree.map(functools.partial(np.testing.assert_array_equal, err_msg=values), got, wanted)


def test_in_bfloat16_the_gradient_is_the_float32_one_rounded_once():
    x, weights = example((8, 8), "ties", jnp.bfloat16)
    y, gradient = with_gradient(max_pool, x, "torch", weights)
    _, wanted = with_gradient(xla_pool, x.astype(jnp.float32), "torch", weights.astype(jnp.float32))
    assert y.dtype == gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, wanted.astype(jnp.bfloat16))


def test_of_equal_values_the_first_has_the_gradient():
    gradient = jax.grad(lambda x: jnp.sum(max_pool(x, "tf")))(jnp.zeros((1, 4, 4, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 0, 1, 0], [0] * 4, [1, 0, 1, 0], [0] * 4])


def test_nan_is_the_largest_value():
    """A loss that is not a number must stay visible."""
    y, _ = jax.vjp(lambda x: max_pool(x, "torch"), jnp.zeros((1, 4, 4, 1)).at[0, 1, 1].set(jnp.nan))
    assert jnp.all(jnp.isnan(y))


@pytest.mark.parametrize(("platform", "has_scatter"), [("tpu", True), ("cuda", False), ("cpu", False)])
def test_only_tpus_select_and_scatter(platform, has_scatter):
    """The platform is that for which the program is lowered, not the one at hand."""
    x = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    traced = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x, "torch")))).trace(x)
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("select_and_scatter" in program) == has_scatter


def test_paddings_differ_only_on_even_sides():
    for side in (8, 9):
        x = example((side, side), "distinct")[0]
        before, both = x[:, :2, :2].max((1, 2)), x[:, :3, :3].max((1, 2))
        torch, tf = max_pool(x, "torch"), max_pool(x, "tf")
        assert torch.shape == tf.shape == (2, (side + 1) // 2, (side + 1) // 2, 3)
        np.testing.assert_array_equal(torch[:, 0, 0], before)
        np.testing.assert_array_equal(tf[:, 0, 0], both if side == 8 else before)
