"""FusedNormRelu(norm) computes relu(norm(x)) with a gradient of its own in 16 bits."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models.blocks import final_relu
from resnet_jax.models.fused_norm_relu import FusedNormRelu, _normalize_relu
from tests.models.fused import norm, norm_variables, normal, relative_gap

CHANNELS = 7


class Pair(nn.Module):
    """Creates a norm in its own scope, as the blocks of the network do."""

    options: dict
    is_fused: bool

    @nn.compact
    def __call__(self, x):
        bn = norm(**self.options)
        return FusedNormRelu(bn)(x) if self.is_fused else nn.relu(bn(x))


@functools.partial(jax.jit, static_argnames=("is_fused", "dtype", "group_size"))
def value_and_gradients(x, params, stats, *, is_fused, dtype, group_size):
    """The result, the updated statistics, and the gradients of a random weighted sum of the result."""
    pair = Pair({"dtype": dtype, "group_size": group_size}, is_fused)

    def apply(x, params):
        variables = {"params": {"bn": params}, "batch_stats": {"bn": stats}}
        return pair.apply(variables, x, mutable=["batch_stats"])

    y, backward, updated = jax.vjp(apply, x.astype(dtype), params, has_aux=True)
    return [y, updated, *backward(normal(9, *x.shape).astype(dtype))]


def example(mean=0.5):
    return normal(0, 8, 5, 5, CHANNELS) + mean - 0.5, *norm_variables(CHANNELS)


@pytest.mark.parametrize("group_size", [None, 4])
def test_in_16_bits_it_is_as_close_to_float32_as_what_jax_derives(group_size):
    exact = value_and_gradients(*example(), is_fused=False, dtype=jnp.float32, group_size=group_size)
    for dtype in (jnp.bfloat16, jnp.float16):
        fused, derived = (
            value_and_gradients(*example(), is_fused=is_fused, dtype=dtype, group_size=group_size)
            for is_fused in (True, False)
        )
        for wanted, one, other in zip(exact, fused, derived, strict=True):
            assert relative_gap(one, wanted) < 1.05 * relative_gap(other, wanted) + 1e-6


def test_in_float32_it_is_bit_equal_to_what_jax_derives():
    results = [
        value_and_gradients(*example(), is_fused=is_fused, dtype=jnp.float32, group_size=None)
        for is_fused in (True, False)
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_the_gradient_is_the_derivative_where_the_mean_is_large():
    """Compares the formulas, in float32, with automatic differentiation in float64 precision of numpy's kind."""
    x, params, _ = example(mean=30.0)
    given = (x.reshape(2, 4, 5, 5, CHANNELS), params["scale"], params["bias"])
    cotangent = normal(9, *given[0].shape)

    def reference(x, scale, bias):
        mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
        var = jnp.mean(jnp.square(x - mean), axis=(1, 2, 3), keepdims=True)
        return nn.relu((x - mean) / jnp.sqrt(var + 1e-5) * scale + bias)

    _, backward = jax.vjp(lambda *given: _normalize_relu(*given, 1e-5)[0], *given)
    _, wanted = jax.vjp(reference, *given)
    for one, other in zip(backward(cotangent), wanted(cotangent), strict=True):
        assert relative_gap(one, other) < 1e-3


def test_the_backward_pass_keeps_nothing_of_the_size_of_the_input_but_the_input():
    x, params, stats = example()
    variables = {"params": {"bn": params}, "batch_stats": {"bn": stats}}
    pair = Pair({"dtype": jnp.bfloat16}, True)
    apply = lambda x: pair.apply(variables, x, mutable=["batch_stats"])[0]  # noqa: E731
    _, backward = jax.vjp(apply, x.astype(jnp.bfloat16))
    kept = [leaf for leaf in jax.tree.leaves(backward) if getattr(leaf, "size", 0) == x.size]
    assert [leaf.dtype for leaf in kept] == [jnp.bfloat16]


def test_the_relu_at_the_end_of_a_block_has_the_gradient_of_relu():
    x = jnp.asarray([-1.0, -0.0, 0.0, 2.0**-100, 2.0])
    for function in (final_relu, nn.relu):
        y, backward = jax.vjp(function, x)
        np.testing.assert_array_equal(y, [0, 0, 0, 2.0**-100, 2])
        np.testing.assert_array_equal(backward(jnp.arange(1.0, 6.0))[0], [0, 0, 0, 4, 5])
