import math

import numpy as np
import pytest

from resnet_jax.data import crops
from resnet_jax.data.crops import BoxGuided, Central, PadAndCrop, RandomResized, ResizeThenCentral
from resnet_jax.data.hashing import uniforms
from resnet_jax.errors import UsageError
from resnet_jax.programs import recipes

NONE = np.zeros((0, 4), np.float32)
RESIZED = RandomResized(224, area=(0.08, 1.0), aspect=(3 / 4, 4 / 3))
GUIDED = BoxGuided(224, area=(0.05, 1.0), aspect=(0.75, 1.33), min_object_covered=0.1)


def draw(crop, height, width, number=4000, boxes=NONE):
    draws = uniforms(0, np.arange(number), crop.num_uniforms)
    return [crop(height, width, boxes, row.tolist()) for row in draws]


def boxes_of(views):
    return np.array([view.box for view in views])


@pytest.mark.parametrize("aspect", [(1e9, 1e9), (100.0, 100.0), (0.001, 0.002)])
@pytest.mark.parametrize(("height", "width"), [(30, 40), (1, 1), (2, 900)])
def test_boxes_have_pixels_whatever_the_aspect_ratio(aspect, height, width):
    for view in draw(RandomResized(9, (0.1, 1.0), aspect), height, width, 50):
        assert 0 < view.box.height <= height and 0 < view.box.width <= width


@pytest.mark.parametrize(("height", "width"), [(500, 375), (10, 10), (1, 1), (3, 900), (900, 3)])
@pytest.mark.parametrize("crop", [RESIZED, GUIDED, Central(224, 0.875), Central(8, 1.0)], ids=repr)
def test_boxes_lie_inside_and_are_resized_to_the_size(crop, height, width):
    for view in draw(crop, height, width, 500):
        box = view.box
        assert box.height >= 1 and box.width >= 1
        assert 0 <= box.top <= height - box.height
        assert 0 <= box.left <= width - box.width
        assert view[1:] == (crop.size, crop.size, 0, 0)


def test_area_is_uniform_and_aspect_log_uniform():
    # In these narrow ranges the first attempt always fits, so the distributions are those of the definition.
    boxes = boxes_of(draw(RandomResized(9, (0.1, 0.5), (3 / 4, 4 / 3)), 4000, 4000))
    area = boxes[:, 2] * boxes[:, 3] / 4000**2
    log_ratio = np.log(boxes[:, 3] / boxes[:, 2])
    assert area.min() > 0.0999 and area.max() < 0.5001
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.2, 0.3, 0.4], atol=0.015)
    limit = math.log(4 / 3)
    np.testing.assert_allclose(np.quantile(log_ratio, [0.25, 0.5, 0.75]), [-limit / 2, 0, limit / 2], atol=0.02)


def test_the_position_is_uniform():
    boxes = boxes_of(draw(RandomResized(9, (0.25, 0.25), (1.0, 1.0)), 1000, 1000))
    assert set(boxes[:, 2]) == {500}
    for start in (boxes[:, 0], boxes[:, 1]):
        assert start.min() < 5 and start.max() > 495
        np.testing.assert_allclose(np.quantile(start, [0.25, 0.5, 0.75]), [125, 250, 375], atol=18)


def test_a_later_attempt_is_taken_when_the_first_do_not_fit():
    # In a wide image a square of the whole area does not fit, a square of a tenth of the area does.
    crop, one = RandomResized(9, (0.1, 1.0), (1.0, 1.0)), [0.99, 0.5, 0.0, 0.0]
    view = crop(100, 1000, NONE, [*one, *one, 0.0, 0.5, 0.0, 0.25, *one * 7])
    assert view.box == (0, 225, 100, 100)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(100, 1000, (0, 433, 100, 133)), (1000, 100, (433, 0, 133, 100))]
)
def test_falls_back_to_the_largest_central_box(height, width, expected):
    # No box of the whole image's area has an allowed aspect ratio: torchvision's fallback.
    assert draw(RandomResized(9, (1.0, 1.0), (3 / 4, 4 / 3)), height, width, 1)[0].box == expected


def coverage(box, corners):
    top, left, bottom, right = corners
    rows = min(box.top + box.height, bottom) - max(box.top, top)
    columns = min(box.left + box.width, right) - max(box.left, left)
    return max(rows, 0) * max(columns, 0) / ((bottom - top) * (right - left))


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_box_guided_crops_cover_an_object(share):
    boxes = np.array([[0.1, 0.7, 0.3, 0.9], [0.75, 0.1, 0.95, 0.4]], np.float32)
    crop = BoxGuided(224, (0.05, 1.0), (0.75, 1.33), share)
    covered = [
        max(coverage(view.box, (40, 350, 120, 450)), coverage(view.box, (300, 50, 380, 200)))
        for view in draw(crop, 400, 500, 500, boxes)
    ]
    assert min(covered) >= share
    assert min(covered) < share + 0.1 or share == 1.0


def test_box_guided_respects_area_and_aspect():
    boxes = boxes_of(draw(BoxGuided(224, (0.2, 0.4), (0.75, 1.33), 0.1), 375, 500))
    area, ratio = boxes[:, 2] * boxes[:, 3] / (375 * 500), boxes[:, 3] / boxes[:, 2]
    assert area.min() >= 0.2 and area.max() <= 0.4
    assert 0.745 < ratio.min() < 0.78 and 1.3 < ratio.max() < 1.336


def test_box_guided_falls_back_to_the_whole_image():
    # No nearly square box has the whole area of a 2:1 image, and no box covers an object smaller than a pixel.
    assert draw(BoxGuided(224, (1.0, 1.0), (0.75, 1.33), 0.1), 200, 400, 1)[0].box == (0, 0, 200, 400)
    speck = np.array([[0.5, 0.5, 0.5, 0.5]], np.float32)
    assert {view.box for view in draw(GUIDED, 200, 400, 20, speck)} == {(0, 0, 200, 400)}


def test_pad_and_crop_moves_by_the_padding_in_every_direction():
    views = draw(PadAndCrop(32, padding=4), 32, 32, 3000)
    assert {view[:3] for view in views} == {((0, 0, 32, 32), 32, 32)}
    tops, counts = np.unique([view.top for view in views], return_counts=True)
    assert tops.tolist() == list(range(-4, 5)) and counts.min() > 250
    assert len({(view.top, view.left) for view in views}) == 81


@pytest.mark.parametrize(
    ("height", "width", "fraction", "expected"),
    [
        (256, 256, 0.875, (16, 16, 224, 224)),
        (512, 1024, 0.875, (32, 288, 448, 448)),
        (375, 500, 0.875, (24, 86, 328, 328)),  # int(0.875 * 375) = 328; (375 - 328 + 1) // 2 = 24
        (375, 500, 1.0, (0, 63, 375, 375)),
        (1, 1, 0.875, (0, 0, 1, 1)),
    ],
)
def test_central_is_that_of_the_flax_example(height, width, fraction, expected):
    assert Central(224, fraction)(height, width, NONE, []).box == expected


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(375, 500, (256, 341, 16, 58)), (500, 375, (341, 256, 58, 16)), (100, 100, (256, 256, 16, 16))],
)
def test_resize_then_central_is_r1s(height, width, expected):
    # 500 * (256 / 375) = 341.33, truncated; (341 - 224) // 2 = 58
    view = ResizeThenCentral(224, 0.875)(height, width, NONE, [])
    assert view == ((0, 0, height, width), *expected)


@pytest.mark.parametrize("height", range(224, 1500, 7))
def test_resize_then_central_never_falls_short(height):
    view = ResizeThenCentral(224, 0.875)(height, 900, NONE, [])
    assert min(view.height, view.width) in (255, 256)  # float32 may truncate 255.99998
    assert view.top + 224 <= view.height and view.left + 224 <= view.width


@pytest.mark.parametrize("margin", [0, 1, 8, 11, 32, 37, 61, 300])
def test_the_fraction_of_a_margin_in_pixels_gives_the_shorter_side_exactly(margin):
    for size in range(1, 500):
        assert crops.resized_short_side(size, size / (size + margin)) == size + margin
    assert crops.resized_short_side(224, 0.95) == 235  # as timm, which rounds 235.79 down


# Margins in pixels, at the evaluation size of the recipe, as the sources of the recipes give them.
@pytest.mark.parametrize(
    ("recipe", "name", "margin"),
    [
        ("resnet50", "central", 32),
        ("resnet50_lars", "central", 32),
        ("resnet50_r1", "resize", 32),
        ("resnet50_a1", "resize", 11),
        ("resnet50_a3", "resize", 11),
        ("resnet50_fast", "central", 37),
        ("resnet50_long", "resize", 8),
        ("finetune", "central", 32),
        ("digits", "central", 2),
        ("cifar10", "central", 0),
        ("cifar10_r1", "central", 0),
    ],
)
def test_the_evaluation_crops_of_recipes(recipe, name, margin):
    config = recipes.get_recipe(recipe)
    size = config.eval.image_size or config.data.image_size
    crop = crops.create_eval_crop(size=size, **config.data.eval_crop)
    for height in range(1, 700):
        view, shorter = crop(height, 500, NONE, []), np.float32(min(height, 500))
        if name == "resize":
            assert min(view[1:3]) == max(size, int(shorter * (np.float32(size + margin) / shorter)))
        else:
            assert view.box.height == max(1, int(np.float32(size / (size + margin)) * shorter))


def test_crops_are_chosen_by_name():
    options = {"size": 8, "area": (0.1, 1), "aspect": (1, 1), "min_object_covered": 0.3, "padding": 4}
    assert crops.create_train_crop("random_resized", **options) == RandomResized(8, (0.1, 1), (1, 1))
    assert crops.create_train_crop("box_guided", **options) == BoxGuided(8, (0.1, 1), (1, 1), 0.3)
    assert crops.create_train_crop("pad", **options) == PadAndCrop(8, 4)
    assert crops.create_eval_crop("central", size=8, fraction=0.8) == Central(8, 0.8)
    assert crops.create_eval_crop("resize", size=8, fraction=0.8) == ResizeThenCentral(8, 0.8)
    with pytest.raises(UsageError, match="the fraction 32 of an evaluation crop is not above 0 and at most 1: give"):
        Central(224, 32)  # the margin in pixels of earlier versions
    with pytest.raises(UsageError, match="data.train_crop.name='rrc' is not one of random_resized, box_guided, pad"):
        crops.create_train_crop("rrc", **options)
    with pytest.raises(UsageError, match="data.eval_crop.name='rrc' is not one of central, resize"):
        crops.create_eval_crop("rrc", size=8)
