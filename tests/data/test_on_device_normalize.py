import jax.numpy as jnp
import numpy as np

from resnet_jax.data.on_device import normalize

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def test_agrees_with_torchvision():
    # torchvision: ToTensor divides by 255, Normalize uses (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225).
    pixels = np.random.default_rng(0).integers(0, 256, size=(2, 4, 4, 3), dtype=np.uint8)
    expected = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    got = normalize(jnp.asarray(pixels), mean=MEAN, std=STD, dtype=jnp.float32)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_rounds_once_at_the_end():
    pixels = jnp.full((1, 1, 1, 3), 255, jnp.uint8)
    exact = normalize(pixels, mean=MEAN, std=STD, dtype=jnp.float32)
    got = normalize(pixels, mean=MEAN, std=STD, dtype=jnp.bfloat16)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, exact.astype(jnp.bfloat16))
