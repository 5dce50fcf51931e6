import io
import zlib

import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.examination import examine
from tests.data.encoded import encode, photo, smooth
from tests.data.test_png import chunk


def stored(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rotated(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return stored(Image.fromarray(smooth(8, 9)), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (encode(smooth(8, 9), "JPEG"), ()),
        (encode(smooth(8, 9), "PNG"), ()),
        (encode(smooth(8, 9), "JPEG", "L"), ()),
        (encode(smooth(8, 9), "JPEG", "CMYK"), ("CMYK",)),
        (stored(Image.fromarray(np.arange(72, dtype=np.uint16).reshape(8, 9) * 900), "PNG"), ("16-bit",)),
        (stored(Image.fromarray(np.arange(72, dtype=np.uint16).reshape(8, 9) * 900), "TIFF"), ("16-bit",)),
        (encode(smooth(8, 9), "TIFF", "CMYK"), ("CMYK",)),
        (rotated(1), ()),
        (rotated(6), ("EXIF-rotated",)),
        (rotated(99), ("EXIF-rotated",)),
        (encode(np.full((8, 9, 3), 7, np.uint8), "PNG"), ("one color",)),
        (encode(smooth(8, 9), "WEBP"), ()),
    ],
)
def test_what_is_unusual(encoded, expected):
    found = examine(encoded)
    assert (found.height, found.width, found.unusual) == (8, 9, expected)


def test_colors_are_those_of_the_pixels():
    pixels = photo(20, 30)
    found = examine(pixels)
    np.testing.assert_allclose(found.mean, pixels.reshape(-1, 3).mean(axis=0))
    np.testing.assert_allclose(found.mean_square, (pixels.reshape(-1, 3).astype(float) ** 2).mean(axis=0))


def test_equal_pixels_have_equal_digests_whatever_the_file():
    pixels = photo(20, 30)
    digests = {examine(image).digest for image in (pixels, encode(pixels, "PNG"), encode(pixels, "BMP"))}
    assert len(digests) == 1
    others = (pixels[::-1], pixels.reshape(30, 20, 3), encode(pixels, "JPEG"))
    assert len(digests | {examine(image).digest for image in others}) == 4


def test_what_cannot_be_decoded_is_an_error():
    with pytest.raises(ValueError, match="Truncated"):
        examine(encode(photo(20, 30), "JPEG")[:200])
    with pytest.raises(ValueError, match="more than config.data.max_image_pixels=599"):
        examine(encode(photo(20, 30), "PNG"), 599)


def test_a_file_that_only_pillow_refuses_is_examined():
    """Puts a text of a megabyte, compressed, into a PNG file: Pillow refuses it, but the pixels are whole."""
    whole = encode(photo(8, 8), "PNG")
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))
    examined = examine(whole[:33] + text + whole[33:])
    assert examined.digest == examine(whole).digest and examined.unusual == ()
