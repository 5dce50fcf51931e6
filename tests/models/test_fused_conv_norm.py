"""A norm that takes in the 1x1 convolution before it, or the max-pool after it, is the norm that does not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models.batch_norm import BatchNorm
from resnet_jax.models.fused_conv_norm import channel_moments, product_mean, product_variance
from resnet_jax.models.layers import pointwise_convolution
from resnet_jax.models.stems import max_pool

WIDE, THIN = 24, 6


def norm(*, train=True, dtype=jnp.float32, group_size=None, trained=""):
    return BatchNorm(
        train=train, group_size=group_size, momentum=0.9, epsilon=1e-5, dtype=dtype, trained=trained, name="bn"
    )


def numbers(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(0.5, 1.0, shape), jnp.float32)


def inputs():
    """Activations after a ReLU, a kernel, and variables with scales of both signs."""
    params = {"scale": numbers(2, WIDE), "bias": numbers(3, WIDE)}
    stats = {"mean": numbers(4, WIDE), "var": jnp.abs(numbers(5, WIDE))}
    return jax.nn.relu(numbers(0, 8, 5, 5, THIN)), numbers(1, 1, 1, THIN, WIDE), params, stats


def folded(x, kernel, params, stats, **options):
    variables = {"params": params, "batch_stats": stats}
    return norm(**options).apply(variables, x, kernel=kernel, mutable=["batch_stats"])


def apart(x, kernel, params, stats, **options):
    dtype = options.get("dtype", jnp.float32)
    variables = {"params": params, "batch_stats": stats}
    return norm(**options).apply(variables, pointwise_convolution(x.astype(dtype), kernel), mutable=["batch_stats"])


def value_and_gradients(function, *arguments):
    """The result, what it leaves in the statistics, and the gradients of a random sum of it in all but those."""
    y, updated = function(*arguments)
    weights = numbers(9, *y.shape)
    gradients = jax.grad(lambda *given: jnp.sum(weights * function(*given)[0]), argnums=(0, 1, 2))(*arguments)
    return y, updated, gradients


def parts(found):
    y, updated, gradients = found
    return [y, updated, *gradients]


def relative_gap(one, other):
    flat = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64) for tree in (one, other)
    ]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


@pytest.mark.parametrize("options", [{}, {"group_size": 4}, {"train": False}, {"trained": "^head"}], ids=str)
def test_a_kernel_in_the_norm_is_a_convolution_before_it(options):
    one, other = (
        value_and_gradients(functools.partial(function, **options), *inputs()) for function in (folded, apart)
    )
    for got, wanted in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4)
    assert relative_gap(one, other) < 2e-6


def test_in_bfloat16_nothing_is_further_from_the_truth():
    """The result, the statistics and each gradient; the mean of the cotangent makes for cancellation."""
    truth = value_and_gradients(apart, *inputs())
    rounded = [value_and_gradients(functools.partial(f, dtype=jnp.bfloat16), *inputs()) for f in (folded, apart)]
    for wanted, one, other in zip(*map(parts, (truth, *rounded)), strict=True):
        assert relative_gap(one, wanted) < 1.05 * relative_gap(other, wanted)


def test_small_scales_are_no_zeros_in_float16():
    """As where a residual branch starts at zero: the scaled kernel is below the least normal number of float16."""
    x, kernel, params, stats = inputs()
    params = {name: 1e-4 * leaf for name, leaf in params.items()}
    truth = value_and_gradients(apart, x, kernel, params, stats)
    found = value_and_gradients(functools.partial(folded, dtype=jnp.float16), x, kernel, params, stats)
    for wanted, got in zip(parts(truth), parts(found), strict=True):
        assert relative_gap(got, wanted) < 5e-3


def test_the_gradient_needs_no_product():
    x, kernel, params, stats = inputs()
    _, back = jax.vjp(lambda *given: folded(*given, stats)[0], x, kernel, params)
    kept = {leaf.shape for leaf in jax.tree.leaves(back) if hasattr(leaf, "shape")}
    assert x.shape in kept and (8, 5, 5, WIDE) not in kept


@pytest.mark.parametrize(("count", "channels"), [(6272, 512), (401_408, 64)])
def test_the_variance_of_a_product_is_exact_where_channels_are_many_or_means_large(count, channels):
    """As in the last and first stage of ResNet-50 with 128 images: after a ReLU all products are positive."""
    random = np.random.default_rng(0)
    x = np.maximum(random.normal(0.5, 1.0, (count, channels)), 0.0).astype(np.float32)
    kernel = random.normal(0.0, channels**-0.5, (channels, 8)).astype(np.float32)
    mean, covariance = channel_moments(jnp.asarray(x).reshape(128, -1, 1, channels))
    kernels = jnp.asarray(kernel)[None, None]
    product = x.astype(np.float64) @ kernel.astype(np.float64)
    np.testing.assert_allclose(product_mean(mean, kernels), product.mean(0), atol=1e-5)
    np.testing.assert_allclose(product_variance(covariance, kernels), product.var(0), rtol=2e-4)


def test_the_variance_is_never_negative():
    _, covariance = channel_moments(jnp.full((1, 1, 7, 3), 1000.1))
    kernel = numbers(0, 1, 1, 3, 500)
    assert jnp.einsum("kl,hwkc,hwlc->c", covariance, kernel, kernel).min() < 0  # rounding alone
    assert product_variance(covariance, kernel).min() == 0.0


def pooled_inside(x, params, stats, **options):
    pool = functools.partial(max_pool, padding="torch")
    return norm(**options).apply({"params": params, "batch_stats": stats}, x, pool=pool, mutable=["batch_stats"])


def pooled_after(x, params, stats, **options):
    y, updated = norm(**options).apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
    return max_pool(y, "torch"), updated


@pytest.mark.parametrize("options", [{}, {"group_size": 4}, {"train": False}, {"dtype": jnp.bfloat16}], ids=str)
def test_a_pool_in_the_norm_is_a_pool_after_it_bit_for_bit(options):
    _, _, params, stats = inputs()
    assert params["scale"].min() < 0 < params["scale"].max()
    x = numbers(7, 8, 9, 9, WIDE).astype(options.get("dtype", jnp.float32))
    one, other = (function(x, params, stats, **options) for function in (pooled_inside, pooled_after))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_its_gradient_is_the_same():
    _, _, params, stats = inputs()
    x = numbers(7, 8, 9, 9, WIDE)

    def gradients(function):
        def loss(x, params):
            y, _ = function(x, params, stats)
            return jnp.sum(numbers(9, *y.shape) * y)

        return jax.grad(loss, argnums=(0, 1))(x, params)

    assert relative_gap(gradients(pooled_inside), gradients(pooled_after)) < 2e-6
