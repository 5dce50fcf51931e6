import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.crops import Box, View
from resnet_jax.data.resize import RESIZES, apply_view, create_resize, enlarge
from resnet_jax.errors import UsageError
from tests.data.encoded import photo, smooth

NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)  # every pixel matters


def resized(name, image, height, width):
    out = np.zeros((height, width, 3), np.uint8)
    RESIZES[name](image, out)
    return out.astype(float)


def convolved(image, height, width, kernel):
    """A separable resize by its definition: `kernel(size, out_size)` returns the weights, [out_size, size]."""
    rows = np.einsum("oh,hwc->owc", kernel(image.shape[0], height), image.astype(float))
    return np.einsum("ow,hwc->hoc", kernel(image.shape[1], width), rows).clip(0, 255)


def point(weight, support):
    """Weights with half-pixel centers, of `2 * support` pixels; pixels outside the image repeat its edge."""

    def kernel(size, out_size):
        matrix = np.zeros((out_size, size))
        for row in range(out_size):
            centre = (row + 0.5) * size / out_size - 0.5
            for pixel in range(int(np.floor(centre)) - support + 1, int(np.floor(centre)) + support + 1):
                matrix[row, min(max(pixel, 0), size - 1)] += weight(abs(pixel - centre))
        return matrix

    return kernel


def cubic(x, a=-0.75):
    """The cubic kernel of Keys 1981."""
    return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0


def overlap(size, out_size):
    """Returns the fraction of each output pixel that each source pixel covers."""
    scale, edges = size / out_size, np.arange(size)
    starts = np.arange(out_size)[:, None] * scale
    return (np.minimum(starts + scale, edges + 1) - np.maximum(starts, edges)).clip(0) / scale


def tf1(size, out_size):
    matrix = np.zeros((out_size, size))
    for row in range(out_size):
        position = row * size / out_size
        before = int(position)
        matrix[row, before] += 1 - (position - before)
        matrix[row, min(before + 1, size - 1)] += position - before
    return matrix


DEFINITIONS = {
    "bilinear": point(lambda x: max(0, 1 - x), 1),
    "bicubic": point(cubic, 2),
    "area": overlap,
    "bilinear_tf1": tf1,
}


@pytest.mark.parametrize(("height", "width"), [(37, 45), (16, 80), (24, 24)])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_shrinking_equals_the_definition(name, height, width):
    expected = convolved(NOISE, height, width, DEFINITIONS[name])
    assert abs(resized(name, NOISE, height, width) - expected).max() < 1.6


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "bilinear_tf1"])
def test_enlarging_equals_the_definition(name):
    expected = convolved(NOISE, 131, 99, DEFINITIONS[name])
    assert abs(resized(name, NOISE, 131, 99) - expected).max() < 1.6


@pytest.mark.parametrize("name", DEFINITIONS)
def test_an_evaluation_crop_equals_the_definition(name):
    image = photo(328, 328)
    assert abs(resized(name, image, 224, 224) - convolved(image, 224, 224, DEFINITIONS[name])).mean() < 0.3


def test_area_enlarges_bilinearly():
    assert (resized("area", NOISE, 100, 120) == resized("bilinear", NOISE, 100, 120)).all()


@pytest.mark.parametrize(("name", "kernel"), [("bilinear_antialias", "BILINEAR"), ("bicubic_antialias", "BICUBIC")])
def test_antialias_is_pillows(name, kernel):
    expected = Image.fromarray(NOISE).resize((31, 23), Image.Resampling[kernel])
    np.testing.assert_array_equal(resized(name, NOISE, 23, 31), expected)


@pytest.mark.parametrize("name", RESIZES)
def test_a_flat_image_stays_flat_and_kernels_agree_on_smooth_ones(name):
    assert (resized(name, np.full((50, 70, 3), 123, np.uint8), 22, 33) == 123).all()
    if name != "bilinear_tf1":  # shifts the image
        assert abs(resized(name, smooth(100, 120), 70, 70) - resized("area", smooth(100, 120), 70, 70)).mean() < 1


def test_unknown_kernel():
    with pytest.raises(UsageError, match="config.data.resize='lanczos' is not one of bilinear, bicubic, area, "):
        create_resize("lanczos")


def test_apply_view_fills_one_row_of_a_batch():
    batch = np.zeros((2, 16, 16, 3), np.uint8)
    apply_view(NOISE, View(Box(10, 20, 32, 48), 16, 16), RESIZES["area"], batch[1])
    assert not batch[0].any()
    part = Image.fromarray(NOISE[10:42, 20:68]).resize((16, 16), Image.Resampling.BOX)
    assert abs(batch[1].astype(int) - np.asarray(part)).max() <= 1


def test_the_same_size_is_a_copy():
    out = np.zeros((16, 16, 3), np.uint8)
    apply_view(NOISE, View(Box(3, 4, 16, 16), 16, 16), RESIZES["bicubic"], out)
    np.testing.assert_array_equal(out, NOISE[3:19, 4:20])


def test_resize_then_cut():
    out = np.zeros((16, 16, 3), np.uint8)
    apply_view(NOISE, View(Box(0, 0, 60, 80), 30, 40, 7, 12), RESIZES["area"], out)
    np.testing.assert_array_equal(out, resized("area", NOISE, 30, 40)[7:23, 12:28])


@pytest.mark.parametrize(("top", "left"), [(-3, 0), (0, -5), (4, 4), (-4, 4), (2, -1), (0, 0)])
def test_what_lies_outside_is_black(top, left):
    image, out = NOISE[:16, :16], np.full((16, 16, 3), 9, np.uint8)
    apply_view(image, View(Box(0, 0, 16, 16), 16, 16, top, left), RESIZES["area"], out)
    padded = np.pad(image, ((8, 8), (8, 8), (0, 0)))
    np.testing.assert_array_equal(out, padded[8 + top : 24 + top, 8 + left : 24 + left])


def test_a_small_image_is_padded_to_the_size():
    out = np.full((16, 16, 3), 9, np.uint8)
    apply_view(NOISE[:4, :4], View(Box(0, 0, 4, 4), 4, 4, -2, -20), RESIZES["area"], out)
    assert not out.any()


def test_enlarge_keeps_the_aspect_ratio_and_large_images():
    assert enlarge(smooth(8, 12), 40).shape == (40, 60, 3)
    image = smooth(50, 40)
    assert enlarge(image, 40) is image
