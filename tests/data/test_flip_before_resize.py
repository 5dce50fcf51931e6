"""The flip before the resize and the fast DCT, as r1 makes its training pixels."""

import numpy as np
import pytest

from resnet_jax.data.crops import Box, View
from resnet_jax.data.decode import decode, open_image
from resnet_jax.data.loader import Loader
from resnet_jax.data.resize import RESIZES, apply_view, bilinear_tf1
from resnet_jax.data.sources import open_source
from tests.data.encoded import encode, photo


@pytest.fixture(scope="module")
def source():
    return open_source(
        "synthetic_jpeg", training=True, num_train=64, num_eval=1, num_classes=4, image_height=60, image_width=80
    )


def images(source, **options):
    return Loader(source, batch_size=64, seed=3, resize="bilinear_tf1", **options).batch(0).batch.image


def test_about_half_of_the_images_are_flipped_and_the_others_are_as_before(source):
    without, flipped = images(source), images(source, flip=True)
    same = np.array([(a == b).all() for a, b in zip(without, flipped, strict=True)])
    assert 20 <= same.sum() <= 44
    np.testing.assert_array_equal(flipped, images(source, flip=True))


def test_each_process_flips_its_rows_alike(source):
    whole = images(source, flip=True)
    options = {"batch_size": 64, "seed": 3, "resize": "bilinear_tf1", "flip": True, "process_count": 2}
    halves = [Loader(source, **options, process_index=index).batch(0).batch.image for index in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(halves), whole)


def test_the_flip_comes_before_the_resize():
    """TensorFlow 1's resize samples pixel i at i * scale: if flipped later, a crop is off by scale - 1 pixels."""
    ramp = np.broadcast_to(np.arange(224, dtype=np.uint8)[None, :, None], (8, 224, 3))
    view = View(Box(0, 0, 8, 224), 8, 8)
    before, after = np.zeros((2, 8, 8, 3), np.uint8)
    apply_view(ramp, view, bilinear_tf1, before, flip=True)
    apply_view(ramp, view, bilinear_tf1, after)
    scale = 224 / 8
    # r1: output pixel i shows the flipped source at i * scale, which is source pixel 223 - i * scale.
    np.testing.assert_array_equal(before[0, :, 0], 223 - np.arange(8) * scale)
    np.testing.assert_array_equal(before[0, :, 0] - after[0, ::-1, 0].astype(int), scale - 1)


@pytest.mark.parametrize("name", RESIZES)
def test_a_flip_before_the_resize_is_a_flip_of_the_region(name):
    image = photo(50, 70, seed=1)
    view = View(Box(3, 5, 40, 60), 24, 24)
    expected, got = np.zeros((2, 24, 24, 3), np.uint8)
    apply_view(
        np.ascontiguousarray(image[3:43, 5:65][:, ::-1]), View(Box(0, 0, 40, 60), 24, 24), RESIZES[name], expected
    )
    apply_view(image, view, RESIZES[name], got, flip=True)
    np.testing.assert_array_equal(got, expected)


def test_the_fast_dct_changes_pixels_by_little_and_only_on_request():
    encoded = encode(photo(120, 160, seed=2), "JPEG", quality=90)
    accurate, fast = decode(encoded), decode(encoded, fast_dct=True)
    difference = fast.astype(int) - accurate
    assert 0 < abs(difference).mean() < 2
    assert abs(difference).max() <= 8
    rows = open_image(encoded, fast_dct=True).decode_rows(50)
    np.testing.assert_array_equal(rows[:50], fast[:50])
    np.testing.assert_array_equal(open_image(encoded).decode_rows(50)[:50], accurate[:50])


def test_the_loader_decodes_with_the_fast_dct(source):
    accurate, fast = images(source), images(source, fast_dct=True)
    assert not np.array_equal(accurate, fast)
    assert abs(accurate.astype(int) - fast).mean() < 2
