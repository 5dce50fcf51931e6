import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models.layers import convolution
from resnet_jax.models.small_images import FEWEST_CHANNELS, LARGEST_RESULT, as_product, convolve

LAYOUT = ("NHWC", "HWIO", "NHWC")


def arrays(height, width, size=3, dtype=jnp.float32, channels=5):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, height, width, channels)), rng.normal(size=(size, size, channels, 7))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def with_gradients(function, x, kernel, **options):
    @jax.jit
    def apply(x, kernel):
        result, backward = jax.vjp(
            lambda *operands: function(*operands, dimension_numbers=LAYOUT, **options), x, kernel
        )
        cotangent = jnp.cos(jnp.arange(result.size, dtype=jnp.float32)).reshape(result.shape)
        return result, *backward(cotangent.astype(result.dtype))

    return apply(x, kernel)


def product(x, kernel, dimension_numbers, **options):
    assert dimension_numbers == LAYOUT
    return as_product(x, kernel, **options)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (7, 2)])
def test_small_images_are_convolved_to_the_same_values_and_gradients(size, stride):
    pad = size // 2
    options = {"window_strides": (stride, stride), "padding": ((pad, pad), (pad, pad))}
    for height, width in ((1, 1), (2, 3), (4, 4), (8, 7)):
        x, kernel = arrays(height, width, size)
        expected = with_gradients(jax.lax.conv_general_dilated, x, kernel, **options)
        for array, wanted in zip(with_gradients(product, x, kernel, **options), expected, strict=True):
            assert array.dtype == wanted.dtype
            np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=2e-6 * np.abs(wanted).max())


def test_bfloat16_is_rounded_once_as_by_a_convolution():
    options = {"window_strides": (1, 1), "padding": ((1, 1), (1, 1)), "dimension_numbers": LAYOUT}
    x, kernel = arrays(2, 2, dtype=jnp.bfloat16)
    exact = convolve(x.astype(jnp.float32), kernel.astype(jnp.float32), **options)
    result = convolve(x, kernel, **options)
    assert result.dtype == jnp.bfloat16
    np.testing.assert_allclose(result.astype(jnp.float32), exact, rtol=2**-8)


def primitives(height, width, **options):
    x = arrays(height, width, channels=options.pop("channels", 5))[0]
    layer = convolution(7, options.pop("kernel_size", 3), options.pop("stride", 1), **options)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    return str(jax.make_jaxpr(layer.apply)(variables, x))


def test_the_form_depends_on_the_shape_only():
    assert "conv_general_dilated" not in primitives(LARGEST_RESULT, LARGEST_RESULT)
    assert "conv_general_dilated" in primitives(LARGEST_RESULT + 1, LARGEST_RESULT)
    assert "conv_general_dilated" not in primitives(4, 4, stride=2)
    assert "conv_general_dilated" in primitives(5, 4, stride=2)
    assert "conv_general_dilated" not in primitives(8, 8, stride=2, channels=FEWEST_CHANNELS)
    assert "conv_general_dilated" in primitives(9, 8, stride=2, channels=FEWEST_CHANNELS)
    assert "conv_general_dilated" in primitives(8, 8, stride=2, channels=FEWEST_CHANNELS - 1)
    assert "conv_general_dilated" in primitives(4, 4, stride=1, channels=FEWEST_CHANNELS)
    assert "conv_general_dilated" in primitives(2, 2, kernel_size=1)  # is a matrix product anyway
    assert "conv_general_dilated" in primitives(2, 2, kernel_dilation=2)
