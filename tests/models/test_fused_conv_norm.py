"""FusedConvNorm(conv, norm) computes norm(conv(x)) without the result of the convolution."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Literal
from jax.lax import Precision

from resnet_jax.models.fused_conv_norm import FusedConvNorm, channel_moments, output_moments
from resnet_jax.models.layers import PointwiseConv, pointwise_convolution
from tests.models.fused import norm, norm_variables, normal, relative_gap

INPUTS, OUTPUTS = 6, 24  # channels


class Block(nn.Module):
    """Creates a convolution and a norm in its own scope, as the blocks of the network do."""

    options: dict
    is_fused: bool

    @nn.compact
    def __call__(self, x):
        dtype = self.options.get("dtype", jnp.float32)
        conv = PointwiseConv(OUTPUTS, dtype=dtype, kernel_init=nn.initializers.lecun_normal(), name="conv")
        bn = norm(**self.options)
        return FusedConvNorm(conv, bn)(x) if self.is_fused else bn(conv(x))


def example():
    """Activations after a ReLU, a kernel, and parameters and statistics of the norm."""
    return jax.nn.relu(normal(0, 8, 5, 5, INPUTS)), normal(1, 1, 1, INPUTS, OUTPUTS), *norm_variables(OUTPUTS)


def apply(x, kernel, params, stats, *, is_fused, **options):
    variables = {"params": {"conv": {"kernel": kernel}, "bn": params}, "batch_stats": {"bn": stats}}
    return Block(options, is_fused).apply(variables, x, mutable=["batch_stats"])


fused, plain = (functools.partial(apply, is_fused=is_fused) for is_fused in (True, False))


def value_and_gradients(function, *arguments):
    """The result, the updated statistics, and the gradients of a random weighted sum of the result."""
    y, backward, updated = jax.vjp(function, *arguments, has_aux=True)
    gradients = backward(normal(9, *y.shape).astype(y.dtype))
    return [y, updated, *gradients[:3]]


@pytest.mark.parametrize("options", [{}, {"group_size": 4}, {"train": False}, {"trained": "^head"}], ids=str)
def test_the_fused_form_is_the_plain_form(options):
    results = [value_and_gradients(functools.partial(function, **options), *example()) for function in (fused, plain)]
    for got, wanted in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4)
    assert relative_gap(*results) < 2e-6


def test_parameters_have_the_paths_and_initial_values_of_the_plain_form():
    x = example()[0]
    params = [Block({}, is_fused).init(jax.random.key(0), x)["params"] for is_fused in (True, False)]
    jax.tree.map(np.testing.assert_array_equal, *params)


@pytest.mark.parametrize("group_size", [None, 4], ids=["one group", "two groups"])
def test_in_bfloat16_the_fused_form_is_as_close_to_float32_as_the_plain_form(group_size):
    """Compares result, statistics and each gradient; gradients cancel where the mean of the cotangent is large."""
    forms = [functools.partial(form, group_size=group_size) for form in (fused, plain)]
    exact = value_and_gradients(forms[1], *example())
    rounded = [value_and_gradients(functools.partial(form, dtype=jnp.bfloat16), *example()) for form in forms]
    for wanted, one, other in zip(exact, *rounded, strict=True):
        assert relative_gap(one, wanted) < 1.05 * relative_gap(other, wanted)


def test_small_scales_do_not_become_zero_in_float16():
    """The scaled kernel is below the least normal float16, as in a branch that starts at zero."""
    x, kernel, params, stats = example()
    params = {name: 1e-4 * leaf for name, leaf in params.items()}
    exact = value_and_gradients(plain, x, kernel, params, stats)
    got = value_and_gradients(functools.partial(fused, dtype=jnp.float16), x, kernel, params, stats)
    for wanted, found in zip(exact, got, strict=True):
        assert relative_gap(found, wanted) < 5e-3


def test_the_backward_pass_does_not_keep_the_product():
    x, kernel, params, stats = example()
    _, backward = jax.vjp(lambda *given: fused(*given, stats)[0], x, kernel, params)
    kept = {leaf.shape[-4:] for leaf in jax.tree.leaves(backward) if hasattr(leaf, "shape")}
    assert x.shape in kept and (8, 5, 5, OUTPUTS) not in kept


def evaluate_as_accelerator(closed: ClosedJaxpr, *arguments):
    """Evaluates a program as a TPU does: float32 inputs of matrix products are rounded to bfloat16 by default."""
    values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values |= dict(zip(closed.jaxpr.invars, arguments, strict=True))
    value_of = lambda atom: atom.val if isinstance(atom, Literal) else values[atom]  # noqa: E731
    for equation in closed.jaxpr.eqns:
        given = [value_of(atom) for atom in equation.invars]
        inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
        if inner is not None:
            results = evaluate_as_accelerator(inner, *given)
        else:
            if equation.primitive.name == "dot_general" and not is_exact(equation):
                given = [jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7) for x in given]
            results = equation.primitive.bind(*given, **equation.params)
            results = results if equation.primitive.multiple_results else [results]
        values |= dict(zip(equation.outvars, results, strict=True))
    return [value_of(atom) for atom in closed.jaxpr.outvars]


def is_exact(equation):
    return equation.params["precision"] in (Precision.HIGHEST, (Precision.HIGHEST, Precision.HIGHEST))


def test_float32_statistics_are_those_of_the_product_on_devices_that_round():
    # A mean that is large compared with the deviation: rounding the kernel moves the mean of the product.
    x, kernel, params, stats = example()
    x = x + 30.0
    program = jax.make_jaxpr(lambda *given: fused(*given)[0])(x, kernel, params, stats)
    (y,) = evaluate_as_accelerator(program, *jax.tree.leaves((x, kernel, params, stats)))
    np.testing.assert_allclose(y.mean((0, 1, 2)), params["bias"], atol=1e-3)
    np.testing.assert_allclose(y.std((0, 1, 2)), jnp.abs(params["scale"]), rtol=1e-3)


@pytest.mark.parametrize(("dtype", "expected"), [(jnp.float32, {True}), (jnp.bfloat16, {True, False})])
def test_products_are_exact_in_float32_and_at_the_default_precision_in_bfloat16(dtype, expected):
    def products(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                yield is_exact(equation)
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: isinstance(p, ClosedJaxpr)):
                if isinstance(inner, ClosedJaxpr):
                    yield from products(inner.jaxpr)

    def loss(x, kernel, params, stats):
        return jnp.sum(fused(x, kernel, params, stats, dtype=dtype)[0].astype(jnp.float32) ** 2)

    assert set(products(jax.make_jaxpr(jax.grad(loss, argnums=(0, 1, 2)))(*example()).jaxpr)) == expected


@pytest.mark.parametrize(("count", "channels"), [(6272, 512), (401_408, 64)])
def test_statistics_of_a_product_are_accurate_for_many_channels_and_for_large_means(count, channels):
    """Shapes of the last and first stage of ResNet-50 with 128 images; after a ReLU all products are positive."""
    random = np.random.default_rng(0)
    x = np.maximum(random.normal(0.5, 1.0, (count, channels)), 0.0).astype(np.float32)
    kernel = random.normal(0.0, channels**-0.5, (channels, 8)).astype(np.float32)
    mean, covariance = channel_moments(jnp.asarray(x).reshape(1, 128, -1, 1, channels))
    product = x.astype(np.float64) @ kernel.astype(np.float64)
    output_mean, variance = output_moments(mean, covariance, jnp.asarray(kernel))
    np.testing.assert_allclose(output_mean[0], product.mean(0), atol=1e-5)
    np.testing.assert_allclose(variance[0], product.var(0), rtol=2e-4)


def test_the_variance_is_never_negative():
    mean, covariance = channel_moments(jnp.full((1, 1, 1, 7, 3), 1000.1))
    kernel = normal(0, 3, 500)
    assert jnp.einsum("gkl,kc,lc->gc", covariance, kernel, kernel).min() < 0  # by rounding
    assert output_moments(mean, covariance, kernel)[1].min() == 0.0


def test_the_gradient_of_a_bfloat16_kernel_is_not_rounded():
    x, kernel = (leaf.astype(dtype) for leaf, dtype in zip(example()[:2], (jnp.bfloat16, jnp.float32), strict=True))
    gradient = jax.grad(lambda kernel: jnp.sum(pointwise_convolution(x, kernel).astype(jnp.float32) ** 2))(kernel)
    assert gradient.dtype == jnp.float32
    assert jnp.any(gradient != gradient.astype(jnp.bfloat16).astype(jnp.float32))
