import io
import struct

import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.decode import decode, image_size
from resnet_jax.data.other_formats import FORMATS, stated_size
from tests.data.encoded import encode, photo

SIXTEEN_BITS = np.random.default_rng(0).integers(0, 2**16, (20, 30), dtype=np.uint16)


def saved(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def with_tiff_tag(encoded, tag, value):
    """Returns a little-endian TIFF file with another 16-bit value of a tag."""
    (offset,) = struct.unpack_from("<I", encoded, 4)
    (count,) = struct.unpack_from("<H", encoded, offset)
    changed = bytearray(encoded)
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        if struct.unpack_from("<H", encoded, entry) == (tag,):
            struct.pack_into("<H", changed, entry + 8, value)
            return bytes(changed)
    raise KeyError(tag)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {}), ("JPEG2000", {})],
)
def test_the_upper_8_of_16_bits_are_kept(kind, options):
    image = decode(saved(SIXTEEN_BITS, kind, **options))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat((SIXTEEN_BITS >> 8)[:, :, None], 3, axis=2))


def test_an_image_of_16_bits_is_the_image_of_8_bits():
    eight = np.arange(200, dtype=np.uint8).reshape(10, 20)
    for kind in ("PNG", "TIFF", "PPM"):
        np.testing.assert_array_equal(decode(saved(eight, kind)), decode(saved(eight.astype(np.uint16) * 257, kind)))


def test_a_tiff_file_whose_0_is_white_is_inverted_as_with_8_bits():
    white_is_0 = with_tiff_tag(saved(SIXTEEN_BITS, "TIFF"), 262, 0)
    np.testing.assert_array_equal(decode(white_is_0)[:, :, 0], 255 - (SIXTEEN_BITS >> 8))


def test_a_tiff_file_of_12_bits_keeps_its_upper_8():
    values = np.random.default_rng(0).integers(0, 2**12, (4, 6))
    bits = "".join(f"{value:012b}" for value in values.ravel())
    pixels = int(bits, 2).to_bytes(len(bits) // 8)
    tags = ((256, 6), (257, 4), (258, 12), (259, 1), (262, 1), (273, 134), (277, 1), (278, 4), (279, len(pixels)))
    file = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    file += b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    file = (file + bytes(134))[:134] + pixels
    np.testing.assert_array_equal(decode(file)[:, :, 0], values >> 4)


@pytest.mark.parametrize("maximum", [300, 1023, 4095, 65535])
def test_the_maximum_of_a_pgm_file_is_white(maximum):
    values = np.array([[0, maximum // 2, maximum]], ">u2")
    image = decode(b"P5 3 1 %d\n" % maximum + values.tobytes())
    assert image[0, :, 0].tolist() in ([0, 127, 255], [0, 128, 255])


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.int32, "integers of 32 bits or with a sign"), (np.float32, "floating-point numbers")]
)
def test_pixels_of_unknown_range_are_refused_by_name(dtype, kind):
    with pytest.raises(ValueError, match=f"its pixels are {kind}, whose range is unknown: store them as 8-bit"):
        decode(saved(np.zeros((4, 4), dtype), "TIFF"))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("options", [{}, {"lossless": True}])
def test_the_header_states_the_size(kind, options):
    encoded = encode(photo(21, 34), kind, **(options if kind == "WEBP" else {}))
    assert stated_size(encoded) == image_size(encoded) == (21, 34)


def test_the_canvas_of_an_animation_is_its_size():
    frames = [Image.fromarray(photo(21, 34, seed)) for seed in range(2)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    assert file.getvalue()[12:16] == b"VP8X" and stated_size(file.getvalue()) == (21, 34)


def test_other_formats_are_refused():
    image = Image.fromarray(photo(16, 16))
    for kind in ("EPS", "ICO", "TGA", "DDS", "PCX", "PDF"):
        file = io.BytesIO()
        image.save(file, kind)
        with pytest.raises(ValueError, match="not an image file, or the beginning"):
            decode(file.getvalue())
