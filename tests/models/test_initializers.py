import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models.layers import HEAD_INITS, KERNEL_INITS
from tests.models.networks import initialize, tiny

KEY = jax.random.key(0)


def test_he_has_variance_2_over_fan_out():
    kernel = KERNEL_INITS["he"](KEY, (3, 3, 64, 128), jnp.float32)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.01)
    assert jnp.abs(kernel).max() > 3 * kernel.std()  # not truncated


def test_lecun_is_tensorflows_variance_scaling():
    # tf.compat.v1.variance_scaling_initializer(): variance 1 / fan_in, normal truncated at two standard deviations.
    kernel = KERNEL_INITS["lecun"](KEY, (3, 3, 64, 128), jnp.float32)
    wanted = np.sqrt(1 / (9 * 64))
    assert kernel.std() == pytest.approx(wanted, rel=0.01)
    assert jnp.abs(kernel).max() <= 2 * wanted / 0.87962566103423978
    assert jnp.abs(kernel).max() > 1.99 * wanted / 0.87962566103423978


@pytest.mark.parametrize(
    ("name", "kernel_deviation", "kernel_limit", "bias_limit"),
    [
        ("normal", 0.01, None, 0),
        ("glorot_uniform", np.sqrt(2 / (512 + 1000)), np.sqrt(6 / (512 + 1000)), 0),
        ("torch", 1 / np.sqrt(3 * 512), 1 / np.sqrt(512), 1 / np.sqrt(512)),
        ("zeros", 0, 0, 0),
    ],
)
def test_head_initializers(name, kernel_deviation, kernel_limit, bias_limit):
    kernel_init, bias_init = HEAD_INITS[name](512)
    kernel, bias = kernel_init(KEY, (512, 1000), jnp.float32), bias_init(KEY, (1000,), jnp.float32)
    assert kernel.std() == pytest.approx(kernel_deviation, rel=0.01)
    if kernel_limit is not None:
        assert jnp.abs(kernel).max() == pytest.approx(kernel_limit, rel=0.001)
    assert jnp.abs(bias).max() == pytest.approx(bias_limit, rel=0.01)


def test_the_network_uses_kernel_init_and_head_init():
    model = tiny((1,), features=32, kernel_init="lecun", head_init="torch", num_classes=100)
    params = initialize(model, jnp.zeros((1, 32, 32, 3)))["params"]
    kernel = params["stage1_block1"]["conv2"]["kernel"]
    assert kernel.std() == pytest.approx(np.sqrt(1 / (9 * 32)), rel=0.05)
    assert jnp.abs(params["head"]["bias"]).max() == pytest.approx(1 / np.sqrt(128), rel=0.05)
