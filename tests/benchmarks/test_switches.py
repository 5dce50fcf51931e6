import importlib

import jax
import jax.numpy as jnp
import pytest

from benchmarks.switches import SWITCHES, switched_off
from tests.models.networks import shapes_of_variables, tiny


def gradient_program(name):
    """The gradient of a network of two bottleneck blocks in bfloat16, as JAX traces it, with one switch off."""
    with switched_off(name):
        model = tiny(stage_sizes=(1, 1), dtype="bfloat16")
        variables = shapes_of_variables(model, 32)

        def loss(params, images):
            outputs, _ = model.apply(variables | {"params": params}, images, train=True, mutable=["batch_stats"])
            return jnp.sum(outputs.astype(jnp.float32))

        variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
        return str(jax.make_jaxpr(jax.grad(loss))(variables["params"], jnp.zeros((2, 32, 32, 3))))


@pytest.fixture(scope="module")
def optimized():
    return gradient_program("")


@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch_changes_the_network_and_puts_the_optimization_back(name, optimized):
    modules, attribute, _ = SWITCHES[name]
    found = [importlib.import_module(f"resnet_jax.models.{module}") for module in modules]
    before = [getattr(module, attribute) for module in found]
    assert gradient_program(name) != optimized
    assert [getattr(module, attribute) for module in found] == before


def test_no_switch_changes_nothing(optimized):
    assert gradient_program("") == optimized
