import io

import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.decode import decode
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
    np.testing.assert_array_equal(image, as_pillow_reads(encoded))


def test_a_broken_png_is_rejected_without_output(capfd):
    encoded = encode(smooth(40, 50), "PNG")
    for data in (encoded[:60], encoded[: len(encoded) // 2], encoded[:20]):
        with pytest.raises(ValueError, match="."):
            decode(data)
    assert capfd.readouterr().err == ""


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


def test_ycck_and_cmyk_are_told_apart_as_pillow_does():
    encoded = bytearray(encode(smooth(37, 50), "JPEG", "CMYK"))
    images = []
    for transform in (0, 2):  # of the Adobe segment: CMYK, YCCK
        encoded[encoded.index(b"Adobe") + 11] = transform
        images.append(decode(bytes(encoded)))
        np.testing.assert_array_equal(images[-1], as_pillow_reads(bytes(encoded)))
    assert (images[0] != images[1]).any()


def test_the_first_bytes_decide_the_format():
    image = smooth(20, 30)
    np.testing.assert_array_equal(decode(encode(image, "PNG")), image)
    np.testing.assert_array_equal(decode(encode(image, "WEBP", lossless=True)), image)
    np.testing.assert_array_equal(decode(encode(image, "BMP")), image)
