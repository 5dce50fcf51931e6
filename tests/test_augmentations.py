import jax
import numpy as np

from resnet_jax.augmentations import random_flip


def test_each_image_is_itself_or_its_mirror_about_half_the_time():
    images = np.random.default_rng(0).integers(0, 256, size=(1000, 2, 3, 3), dtype=np.uint8)
    flipped = np.asarray(random_flip(jax.random.key(0), images))
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 440 < mirrored.sum() < 560  # 500 +- 3.8 standard deviations


def test_the_key_decides():
    images = np.arange(64 * 2 * 3, dtype=np.uint8).reshape(64, 2, 1, 3).repeat(2, axis=2)
    images[:, :, 1] += 1
    first, again, other = (np.asarray(random_flip(jax.random.key(k), images)) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
