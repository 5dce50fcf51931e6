import math

import numpy as np
import pytest

from resnet_jax.data import crops
from resnet_jax.data.hashing import uniforms


def draw(height, width, number=4000, area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)):
    draws = uniforms(0, np.arange(number), crops.UNIFORMS_PER_CROP)
    return [crops.random_resized(height, width, row, area=area, aspect=aspect) for row in draws]


@pytest.mark.parametrize(("height", "width"), [(500, 375), (10, 10), (1, 1), (3, 900), (900, 3)])
def test_boxes_lie_inside(height, width):
    for box in draw(height, width, 500):
        assert box.height >= 1 and box.width >= 1
        assert 0 <= box.top <= height - box.height
        assert 0 <= box.left <= width - box.width


def test_area_is_uniform_and_aspect_log_uniform():
    # In so narrow ranges every first attempt fits, so that the distributions are those of the definition.
    boxes = np.array(draw(4000, 4000, area=(0.1, 0.5)))
    area = boxes[:, 2] * boxes[:, 3] / 4000**2
    log_ratio = np.log(boxes[:, 3] / boxes[:, 2])
    assert area.min() > 0.0999 and area.max() < 0.5001
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.2, 0.3, 0.4], atol=0.015)
    limit = math.log(4 / 3)
    np.testing.assert_allclose(np.quantile(log_ratio, [0.25, 0.5, 0.75]), [-limit / 2, 0, limit / 2], atol=0.02)


def test_the_place_is_uniform():
    boxes = np.array(draw(1000, 1000, area=(0.25, 0.25), aspect=(1.0, 1.0)))
    assert set(boxes[:, 2]) == {500}
    for start in (boxes[:, 0], boxes[:, 1]):
        assert start.min() < 5 and start.max() > 495
        np.testing.assert_allclose(np.quantile(start, [0.25, 0.5, 0.75]), [125, 250, 375], atol=18)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(100, 1000, (0, 434, 100, 133)), (1000, 100, (434, 0, 133, 100))]
)
def test_falls_back_to_the_largest_central_box(height, width, expected):
    # No box of the whole image's area has an allowed aspect ratio: torchvision's fallback.
    assert draw(height, width, 1, area=(1.0, 1.0))[0][2:] == expected[2:]
    box = draw(height, width, 1, area=(1.0, 1.0))[0]
    assert abs(box.top - expected[0]) <= 1 and abs(box.left - expected[1]) <= 1


def test_central_is_resize_256_and_crop_224_in_one():
    assert crops.central(256, 256, [], fraction=224 / 256) == (16, 16, 224, 224)
    assert crops.central(512, 1024, [], fraction=224 / 256) == (32, 288, 448, 448)
    assert crops.central(1, 1, [], fraction=0.1) == (0, 0, 1, 1)
