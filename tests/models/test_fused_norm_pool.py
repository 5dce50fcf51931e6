"""FusedNormPool(norm, pool) computes pool(norm(x)), bit for bit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models.fused_norm_pool import FusedNormPool
from resnet_jax.models.max_pool import max_pool
from tests.models.fused import norm, norm_variables, normal, relative_gap

CHANNELS = 24
POOL = functools.partial(max_pool, padding="torch")


def nest(params, stats):
    """The variables of a module whose field `norm` has these parameters and statistics."""
    return {"params": {"norm": params}, "batch_stats": {"norm": stats}}


def fused(x, params, stats, **options):
    module = FusedNormPool(norm(**options).clone(name=None), POOL)
    y, updated = module.apply(nest(params, stats), x, mutable=["batch_stats"])
    return y, updated["batch_stats"]["norm"]


def plain(x, params, stats, **options):
    y, updated = norm(**options).apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
    return POOL(y), updated["batch_stats"]


@pytest.mark.parametrize("options", [{}, {"group_size": 4}, {"train": False}, {"dtype": jnp.bfloat16}], ids=str)
def test_the_fused_form_is_the_plain_form_bit_for_bit(options):
    params, stats = norm_variables(CHANNELS)
    assert params["scale"].min() < 0 < params["scale"].max()
    x = normal(7, 8, 9, 9, CHANNELS).astype(options.get("dtype", jnp.float32))
    results = [function(x, params, stats, **options) for function in (fused, plain)]
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_the_gradients_are_equal():
    params, stats = norm_variables(CHANNELS)
    x = normal(7, 8, 9, 9, CHANNELS)

    def gradients(function):
        def loss(x, params):
            y, _ = function(x, params, stats)
            return jnp.sum(normal(9, *y.shape) * y)

        return jax.grad(loss, argnums=(0, 1))(x, params)

    assert relative_gap(gradients(fused), gradients(plain)) < 2e-6
