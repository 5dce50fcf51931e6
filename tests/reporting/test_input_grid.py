import warnings

import numpy as np
import pytest

from resnet_jax.reporting.glyphs import drawable
from resnet_jax.reporting.input_grid import Panel, as_pixels, draw_panels


def panel(count, side, title="training", captions=None):
    images = np.random.default_rng(side).integers(0, 255, (count, side, side, 3), dtype=np.uint8)
    return Panel(title, images, captions or ["cat"] * count)


def contains(picture, image):
    """Whether `image` lies somewhere in `picture`, pixel by pixel."""
    height, width = image.shape[:2]
    corners = np.argwhere((picture == image[0, 0]).all(-1))
    return any(
        (picture[y : y + height, x : x + width] == image).all() for y, x in corners if y + height <= len(picture)
    )


@pytest.mark.parametrize(("side", "scale"), [(12, 8), (40, 3), (100, 1)])
def test_every_pixel_is_drawn_at_a_whole_multiple(side, scale):
    shown = panel(3, side)
    picture = as_pixels(draw_panels([shown], columns=2))
    for image in shown.images:
        assert contains(picture, image.repeat(scale, axis=0).repeat(scale, axis=1))


def test_two_panels_have_one_scale():
    small, large = panel(9, 12), panel(1, 24, "evaluation")
    picture = as_pixels(draw_panels([small, large], title="two sizes"))
    for image in (*small.images, *large.images):
        assert contains(picture, image.repeat(4, axis=0).repeat(4, axis=1))


def test_large_images_are_shrunk_to_at_most_256_pixels():
    images = np.full((1, 600, 600, 3), 77, np.uint8)
    picture = as_pixels(draw_panels([Panel("large", images, ["cat"])]))
    assert contains(picture, images[0, :200, :200])
    assert picture.shape[0] < 300


def test_captions_without_a_glyph_are_drawn_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_pixels(draw_panels([panel(2, 12, captions=["日本 cat", "60 % $cat$\n40 % dog"])], title="日本"))


def test_drawable_shortens_and_replaces():
    assert drawable("a  b\nc", "") == "a b c"
    assert drawable("x" * 30, "") == "x" * 23 + "…"
    assert drawable("日本", "class 3") == "class 3"
    assert drawable("日本 3", "日本 3") == " 3"
