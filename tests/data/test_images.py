import io

import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.crops import Box
from resnet_jax.data.images import crop_and_resize, decode, enlarge
from tests.data.encoded import encode, smooth


def as_pillow_reads(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 90}),
        ("JPEG", "RGB", {"quality": 90, "progressive": True}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGB", {}),
        ("PNG", "L", {}),
        ("PNG", "LA", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("GIF", "P", {}),
    ],
)
def test_decodes_as_pillow_does(kind, mode, options):
    encoded = encode(smooth(37, 50), kind, mode, **options)
    image = decode(encoded)
    assert image.dtype == np.uint8 and image.shape == (37, 50, 3)
    assert abs(image.astype(int) - as_pillow_reads(encoded)).mean() < 1.0


def test_exif_rotation_is_ignored():
    rotated = Image.Exif()
    rotated[0x0112] = 6
    assert decode(encode(smooth(20, 30), "JPEG", exif=rotated)).shape == (20, 30, 3)
    assert decode(encode(smooth(20, 30), "PNG", exif=rotated)).shape == (20, 30, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5])
def test_half_a_file_is_an_error(kind, keep):
    encoded = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), kind)
    with pytest.raises(ValueError, match="."):
        decode(encoded[: int(len(encoded) * keep)])


def test_crop_and_resize_fills_its_row_of_a_batch():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)  # noise: every pixel counts
    batch = np.zeros((2, 16, 16, 3), np.uint8)
    crop_and_resize(image, Box(10, 20, 32, 48), batch[1])
    assert not batch[0].any()
    part = Image.fromarray(image[10:42, 20:68]).resize((16, 16), Image.Resampling.BOX)
    assert abs(batch[1].astype(int) - np.asarray(part)).max() <= 1


def test_the_same_size_is_a_copy():
    image, out = smooth(16, 16), np.zeros((16, 16, 3), np.uint8)
    crop_and_resize(image, Box(0, 0, 16, 16), out)
    np.testing.assert_array_equal(out, image)


def test_growing_is_bilinear_with_half_pixel_centres():
    image, out = smooth(8, 8), np.zeros((20, 20, 3), np.uint8)
    crop_and_resize(image, Box(0, 0, 8, 8), out)
    expected = Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR)
    assert abs(out.astype(int) - np.asarray(expected)).max() <= 1


def test_enlarge_keeps_the_aspect_ratio_and_leaves_large_images_alone():
    assert enlarge(smooth(8, 12), 40).shape == (40, 60, 3)
    image = smooth(50, 40)
    assert enlarge(image, 40) is image
