import dataclasses

import numpy as np
import pytest

from resnet_jax.data import decode
from resnet_jax.data.crops import BoxGuided, Central, PadAndCrop, RandomResized, ResizeThenCentral
from resnet_jax.data.sources import Example
from resnet_jax.data.views import compare_views
from tests.data.encoded import encode, smooth


@dataclasses.dataclass(frozen=True)
class Images:
    """1,000 images of these sizes, in turn."""

    sizes: tuple
    name: str = "images"
    class_names: tuple = ("one",)
    encode: object = lambda size: np.empty((*size, 3), np.uint8)

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        return Example(self.encode(self.sizes[index % len(self.sizes)]), 0)

    def where(self, index):
        return str(index)


def compare(*sizes, train, evaluation, **options):
    return compare_views(Images(sizes), train_crop=train, eval_crop=evaluation, **options)


@pytest.mark.parametrize("smallest", [0.08, 0.25, 0.6])
def test_area_and_apparent_size_of_random_crops_are_the_expectations(smallest):
    # E[side] of a square crop whose area is uniform in [a, 1]: 2/3 (1 - a^1.5) / (1 - a) (Touvron et al. 2019, 3.1).
    square = RandomResized(224, (smallest, 1.0), (1.0, 1.0))
    for crop in (Central(224, 0.875), ResizeThenCentral(224, 0.875), Central(224, 1.0)):
        views = compare((512, 512), train=square, evaluation=crop)
        side = 2 / 3 * (1 - smallest**1.5) / (1 - smallest)
        assert views.train_share == pytest.approx((1 + smallest) / 2, rel=0.05)
        assert views.eval_share == pytest.approx(crop.fraction**2, rel=0.01)
        assert views.enlargement == pytest.approx(side / crop.fraction, rel=0.02)


def test_the_known_discrepancy_of_imagenet():
    """'0.80' in Touvron et al. 2019: crops of 224 pixels in training, 224 of 256 in evaluation."""
    views = compare((500, 500), train=RandomResized(224), evaluation=ResizeThenCentral(224, 224 / 256))
    assert 0.74 <= views.enlargement <= 0.82
    larger = compare((500, 500), train=RandomResized(224), evaluation=ResizeThenCentral(288, 224 / 256))
    assert larger.enlargement == pytest.approx(views.enlargement * 288 / 224, rel=0.01)


@pytest.mark.parametrize("side", [32, 40, 64, 300])
def test_pad_shows_a_part_at_the_scale_of_the_image(side):
    views = compare((side, side), train=PadAndCrop(32, 4), evaluation=Central(32, 1.0))
    assert views.enlargement == pytest.approx(32 / side)
    whole = side - 32 + 9  # positions; at up to 4 of them at each end, a margin of 1 to 4 pixels is black
    seen = (32 * whole - 2 * (1 + 2 + 3 + 4)) / whole / side
    assert views.train_share == pytest.approx(seen**2, rel=0.04)
    assert (views.height, views.width, views.eval_share) == (side, side, 1.0)


def test_boxes_and_several_sizes():
    views = compare((375, 500), (500, 375), train=BoxGuided(224), evaluation=Central(224, 0.875))
    assert 0.3 < views.train_share < 0.5 and 0.7 < views.enlargement < 0.9
    assert views.eval_share == pytest.approx((0.875 * 375) ** 2 / (375 * 500), rel=0.01)


def test_images_are_enlarged_first():
    sizes = [(8, 8)] * 500 + [(80, 80)] * 500
    views = compare(*sizes, train=PadAndCrop(32, 0), evaluation=Central(32, 1.0), enlarge_to=32)
    assert views.train_share == pytest.approx((1 + (32 / 80) ** 2) / 2, rel=0.02)
    assert views.enlargement == pytest.approx((1 + 32 / 80) / 2, rel=0.02)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_only_headers_are_decoded(kind, monkeypatch):
    source = Images(((30, 50),), encode=lambda size: encode(smooth(*size), kind))
    monkeypatch.setattr(decode, "decode", None)
    views = compare_views(source, train_crop=RandomResized(8), eval_crop=Central(8))
    assert (views.height, views.width) == (30, 50)


def test_unreadable_images_are_skipped():
    def broken(_size):
        raise OSError

    crops = {"train_crop": RandomResized(8), "eval_crop": Central(8)}
    assert compare_views(Images(((9, 9),), encode=broken), **crops) is None
    assert compare_views(Images(((9, 9),), encode=lambda _: b"not an image"), **crops) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_in_the_header_is_that_of_the_pixels(kind):
    image = encode(smooth(21, 34), kind)
    assert decode.image_size(image) == decode.decode(image).shape[:2] == (21, 34)
    assert decode.image_size(decode.decode(image)) == (21, 34)
    with pytest.raises(ValueError, match="not an image file"):
        decode.image_size(b"no image")
