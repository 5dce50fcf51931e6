"""1x1 convolutions with a stride have the gradients of JAX, without a product for zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models import subsampled_convolution
from resnet_jax.models.small_images import convolve

LAYOUT = ("NHWC", "HWIO", "NHWC")


def gradient_function(function, cotangent, stride):
    """Returns a function of image and kernel, which computes their cotangents."""

    def convolution(x, kernel):
        return function(x, kernel, (stride, stride), ((0, 0), (0, 0)), dimension_numbers=LAYOUT)

    return jax.jit(lambda *operands: jax.vjp(convolution, *operands)[1](cotangent))


def arrays(stride, height, width, dtype=jnp.float32):
    """Returns image, kernel and cotangent."""
    rng = np.random.default_rng(0)
    shapes = (2, height, width, 5), (1, 1, 5, 7), (2, -(-height // stride), -(-width // stride), 7)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize(("stride", "height", "width"), [(2, 8, 8), (2, 7, 10), (2, 1, 2), (3, 9, 8)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_gradients_on_tpus_are_those_of_jax(stride, height, width, dtype, monkeypatch):
    x, kernel, cotangent = arrays(stride, height, width, dtype)
    expected = gradient_function(jax.lax.conv_general_dilated, cotangent, stride)(x, kernel)
    monkeypatch.setattr(subsampled_convolution, "by_platform", lambda *given, tpu, **_: tpu(*given))
    found = gradient_function(convolve, cotangent, stride)(x, kernel)
    for array, wanted in zip(found, expected, strict=True):
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(array.astype(jnp.float32), wanted.astype(jnp.float32), rtol=1e-6, atol=1e-6)
    unread = np.ones((height, width), bool)
    unread[::stride, ::stride] = False
    assert not np.asarray(found[0])[:, unread].any()


def test_the_gradients_elsewhere_are_those_of_jax_bit_for_bit():
    x, kernel, cotangent = arrays(2, 32, 32)
    found = gradient_function(convolve, cotangent, 2)(x, kernel)
    expected = gradient_function(jax.lax.conv_general_dilated, cotangent, 2)(x, kernel)
    assert all(bool((array == wanted).all()) for array, wanted in zip(found, expected, strict=True))


@pytest.mark.parametrize(("platform", "dilated"), [("cpu", True), ("cuda", True), ("tpu", False)])
def test_tpus_multiply_no_zeros(platform, dilated):
    x, kernel, cotangent = arrays(2, 8, 8)
    traced = gradient_function(convolve, cotangent, 2).trace(x, kernel)
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("lhs_dilate = [2, 2]" in program) == dilated
