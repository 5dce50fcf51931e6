import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.networks import (
    evaluation_logits,
    initialize,
    network,
    outputs,
    random_variables,
    shapes_of_variables,
    tiny,
    training_logits,
)


def test_zero_init_makes_every_block_without_projection_the_identity():
    model = tiny((2,), name="resnet_cifar", depth=14, zero_init_last_bn=True)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    blocks = outputs(model, initialize(model, x), x)
    np.testing.assert_array_equal(blocks["stage1_block2"]["__call__"], blocks["stage1_block1"]["__call__"])


@pytest.mark.parametrize(("dtype", "version"), [("bfloat16", "v1.5"), ("float16", "v2")])
def test_activations_have_the_dtype_and_parameters_statistics_and_logits_are_float32(dtype, version):
    options = {"version": version, "squeeze_excitation": 0.25, "blur_pool": True, "shortcut": "average_pool"}
    model = tiny(dtype=dtype, stochastic_depth=0.2, stem="space_to_depth", **options)
    variables = shapes_of_variables(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    apply = functools.partial(
        model.apply,
        train=True,
        capture_intermediates=lambda module, method: method == "__call__" and module.name not in (None, "head"),
        mutable=["batch_stats", "intermediates"],
    )
    images, uniforms = jnp.zeros((2, 32, 32, 3)), jnp.zeros((2, 3))
    logits, state = jax.eval_shape(lambda variables: apply(variables, images, uniforms=uniforms), variables)
    assert logits.dtype == jnp.float32
    activations = [leaf for leaf in jax.tree.leaves(state["intermediates"]) if leaf.shape[0] == len(images)]
    assert {leaf.dtype for leaf in activations} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(state["batch_stats"])} == {jnp.dtype("float32")}


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.1), ("float16", 0.01)])
def test_16_bit_logits_are_close_to_float32_logits(dtype, tolerance):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 16, 3)), jnp.float32)
    exact, short = (tiny((1, 1), depth=18, dtype=dtype) for dtype in ("float32", dtype))
    variables = random_variables(exact, x)
    logits, wanted = (training_logits(model, variables, x) for model in (short, exact))
    np.testing.assert_allclose(logits, wanted, atol=tolerance)
    assert jnp.abs(wanted).max() > 5 * tolerance


def test_a_network_takes_images_of_any_size():
    model = tiny()
    variables = shapes_of_variables(model, 64)
    for size in (32, 47, 96):
        assert evaluation_logits.eval_shape(model, variables, jnp.zeros((2, size, size, 3))).shape == (2, 10)


def test_number_of_blocks():
    assert network(depth=50).num_blocks == 16
    assert network(name="resnet_cifar", depth=110).num_blocks == 54
