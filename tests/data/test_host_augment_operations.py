import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.host_augment import COLOR_OPERATIONS, GEOMETRIC_OPERATIONS, Interpolation, apply_operation
from tests.data.encoded import photo
from tests.data.patterns import patterns

IMAGES = patterns()
NEAREST = Interpolation(Image.Resampling.NEAREST, (9, 8, 7))
SMOOTH = [Interpolation(kernel, (9, 8, 7)) for kernel in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)]
NEUTRAL = {
    "identity": 0.0,
    "posterize": 8,
    "solarize": 256,
    "solarize_add": 0,
    "saturation": 1.0,
    "contrast": 1.0,
    "brightness": 1.0,
    "sharpness": 1.0,
} | dict.fromkeys(GEOMETRIC_OPERATIONS, 0.0)


def applied(name, pixels, argument=0.0, interpolation=NEAREST):
    return np.asarray(apply_operation(name, Image.fromarray(pixels), argument, interpolation))


def moved(pixels, down, right):
    """Moves by whole pixels; uncovered pixels get the fill color."""
    height, width = pixels.shape[:2]
    out = np.empty_like(pixels)
    out[:] = NEAREST.fill
    out[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = pixels[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return out


@pytest.mark.parametrize("interpolation", [NEAREST, *SMOOTH])
@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("image", IMAGES)
def test_strength_zero_keeps_the_image(image, name, interpolation):
    np.testing.assert_array_equal(applied(name, IMAGES[image], NEUTRAL[name], interpolation), IMAGES[image])


@pytest.mark.parametrize("name", [*COLOR_OPERATIONS, *GEOMETRIC_OPERATIONS])
def test_shape_type_and_input_are_kept(name):
    original = IMAGES["rough"].copy()
    for argument in (0.5, 2, 4):
        result = applied(name, original, argument)
        assert result.shape == original.shape and result.dtype == np.uint8
    np.testing.assert_array_equal(original, IMAGES["rough"])


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("interpolation", [NEAREST, *SMOOTH])
def test_translations_by_whole_pixels(image, interpolation):
    pixels = IMAGES[image]
    for distance in (1, 5, -3):
        np.testing.assert_array_equal(
            applied("translate_x", pixels, distance, interpolation), moved(pixels, 0, -distance)
        )
        np.testing.assert_array_equal(
            applied("translate_y", pixels, distance, interpolation), moved(pixels, -distance, 0)
        )
    np.testing.assert_array_equal(
        applied("translate_x_relative", pixels, 0.25, interpolation), moved(pixels, 0, -12 - (image == "rough"))
    )
    np.testing.assert_array_equal(
        applied("translate_y_relative", pixels, -0.25, interpolation), moved(pixels, 12 - 3 * (image == "rough"), 0)
    )


def test_shears_move_rows_and_columns_in_proportion():
    pixels = IMAGES["rough"]
    sheared = applied("shear_x", pixels, 0.5)
    for row in range(36):
        by = int(np.floor(0.5 * (row + 0.5) + 0.5))  # pixels are sampled at their centers
        np.testing.assert_array_equal(sheared[row], moved(pixels, 0, -by)[row])
    sheared = applied("shear_y", pixels, -0.25)
    for column in range(52):
        by = int(np.ceil(0.25 * (column + 0.5) - 0.5))
        np.testing.assert_array_equal(sheared[:, column], moved(pixels, by, 0)[:, column])


def test_a_quarter_turn():
    square = IMAGES["dim"]
    for interpolation in (NEAREST, *SMOOTH):
        np.testing.assert_array_equal(applied("rotate", square, 90, interpolation), np.rot90(square))
    corner = applied("rotate", square, 45)[0, 0]
    assert tuple(corner) == NEAREST.fill


def test_tables_of_values():
    pixels = IMAGES["rough"].astype(int)
    rough = IMAGES["rough"]
    np.testing.assert_array_equal(applied("invert", rough), 255 - pixels)
    np.testing.assert_array_equal(applied("solarize", rough, 93.5), np.where(pixels < 93.5, pixels, 255 - pixels))
    np.testing.assert_array_equal(applied("solarize", rough, 93.0), np.where(pixels < 93, pixels, 255 - pixels))
    expected = np.where(pixels < 128, np.minimum(pixels + 130, 255), pixels)
    np.testing.assert_array_equal(applied("solarize_add", rough, 130), expected)
    for bits in range(9):
        np.testing.assert_array_equal(applied("posterize", rough, bits), pixels // 2 ** (8 - bits) * 2 ** (8 - bits))


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.7])
def test_enhancements_blend_with_an_image_without_what_they_enhance(factor):
    pixels = IMAGES["dim"]
    grey = pixels @ (0.299, 0.587, 0.114)
    weights = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = pixels.astype(float)
    smooth[1:-1, 1:-1] = sum(
        weights[i, j] * pixels[i : i + 46, j : j + 46].astype(float) for i in range(3) for j in range(3)
    )
    without = {
        "brightness": np.zeros(pixels.shape),
        "saturation": np.repeat(grey[..., None], 3, 2),
        "contrast": np.full(pixels.shape, grey.mean()),
        "sharpness": smooth,
    }
    for name, dull in without.items():
        expected = (dull + factor * (pixels - dull)).clip(0, 255)
        assert abs(applied(name, pixels, factor) - expected).max() <= 2


def test_auto_contrast_stretches_each_channel():
    pixels = IMAGES["dim"].astype(int)
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    expected = (pixels - low) / (high - low) * 255
    assert abs(applied("auto_contrast", IMAGES["dim"]) - expected).max() <= 1


def test_equalize_makes_all_values_equally_frequent():
    image = photo(200, 200)
    for channel in np.moveaxis(applied("equalize", image), 2, 0):
        shares = np.searchsorted(np.sort(channel.ravel()), [64, 128, 192]) / channel.size
        assert abs(shares - (0.25, 0.5, 0.75)).max() < 0.03


@pytest.mark.parametrize(
    ("name", "argument", "mirrored"),
    [("shear_x", 0.3, -0.3), ("translate_x", 20.0, -20.0), ("translate_y", 20.0, 20.0), ("rotate", 25.0, -25.0)],
)
def test_flipping_first_equals_flipping_last_with_the_other_sign(name, argument, mirrored):
    image = photo(100, 100)
    for interpolation in SMOOTH:
        before, after = (
            applied(name, image[:, ::-1], mirrored, interpolation),
            applied(name, image, argument, interpolation),
        )
        assert abs(before.astype(int) - after[:, ::-1]).mean() < 0.5
