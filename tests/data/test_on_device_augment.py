import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.data.on_device import Erasing, random_flip, row_keys


def keys(count, seed=0):
    return row_keys(jax.random.key(seed), jnp.arange(count))


def test_each_image_is_itself_or_its_mirror_about_half_the_time():
    images = np.random.default_rng(0).integers(0, 256, size=(1000, 2, 3, 3), dtype=np.uint8)
    flipped = np.asarray(jax.jit(random_flip)(keys(1000), images))
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 440 < mirrored.sum() < 560  # 500 +- 3.8 standard deviations


def test_the_key_decides():
    images = np.arange(64 * 2 * 3, dtype=np.uint8).reshape(64, 2, 1, 3).repeat(2, axis=2)
    images[:, :, 1] += 1
    first, again, other = (np.asarray(jax.jit(random_flip)(keys(64, seed), images)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_row_has_the_same_key_in_any_part_of_a_batch():
    whole = jax.random.key_data(keys(8))
    part = jax.random.key_data(row_keys(jax.random.key(0), jnp.array([5, 2])))
    np.testing.assert_array_equal(part, whole[jnp.array([5, 2])])
    assert len(np.unique(whole, axis=0)) == 8


def erase(count=400, size=(32, 24), **changes):
    options = {"probability": 1.0, "area": (0.02, 0.33), "aspect": (0.3, 3.3), "noise": False} | changes
    return np.asarray(jax.jit(Erasing(**options))(keys(count), jnp.ones((count, *size, 3))))


def test_one_rectangle_of_an_allowed_area_is_erased():
    erased = erase()[..., 0] == 0
    shares = erased.mean(axis=(1, 2))
    for mask, share in zip(erased, shares, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert np.ptp(rows) + 1 == len(rows) and np.ptp(columns) + 1 == len(columns)
        assert mask.sum() == len(rows) * len(columns)
        assert 0.01 < share < 0.35  # sides are whole pixels
    assert 0.14 < shares.mean() < 0.19  # slightly below the middle of the range, because sides are clipped to the image


def test_erasing_reaches_every_pixel():
    covered = (erase(count=2000, size=(16, 16), area=(0.25, 0.25), aspect=(1.0, 1.0))[..., 0] == 0).mean(axis=0)
    assert covered[8, 8] > covered[0, 0] > 0.005  # 1 of 81 positions covers the corner


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.25, 70, 130), (1.0, 400, 400)])
def test_the_number_of_erased_images(probability, low, high):
    changed = (erase(probability=probability) != 1).any(axis=(1, 2, 3)).sum()
    assert low <= changed <= high  # 100 +- 3.5 standard deviations


def test_noise_is_normal_and_differs_between_pixels_and_images():
    erased = erase(noise=True)
    noise = erased[erased != 1]
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert len(np.unique(noise)) > 0.99 * len(noise)


def test_erasing_keeps_the_dtype():
    images = jnp.ones((2, 8, 8, 3), jnp.bfloat16)
    erasing = Erasing(1.0, (0.1, 0.2), (0.5, 2.0), noise=True)
    assert jax.eval_shape(erasing, keys(2), images).dtype == jnp.bfloat16
