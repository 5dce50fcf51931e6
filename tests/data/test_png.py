import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.decode import decode
from resnet_jax.data.png import START, decode_png, png_size
from tests.data.encoded import encode, photo


def chunk(name, content):
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def png(header, *chunks):
    return START + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (37, 50)])
def test_decodes_as_pillow_does(mode, size):
    encoded = encode(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8), "PNG", mode)
    image = decode_png(encoded, 10**6)
    assert image is not None and image.dtype == np.uint8 and image.flags.c_contiguous and png_size(encoded) == size
    np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")))


def test_an_interlaced_file():
    # Adam7: one pixel in pass 1; a 1 x 1 image has no other pass.
    encoded = png(b"\0\0\0\1\0\0\0\1\x08\2\0\0\1", chunk(b"IDAT", zlib.compress(b"\0\1\2\3")))
    assert decode_png(encoded, 10**6).tolist() == [[[1, 2, 3]]]


def test_16_bits_are_left_to_pillow():
    file = io.BytesIO()
    Image.fromarray(np.zeros((5, 6), np.uint16)).save(file, "PNG")
    assert decode_png(file.getvalue(), 10**6) is None


@pytest.mark.parametrize("color_type", [0, 3])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_every_depth_is_decoded_as_pillow_does(color_type, depth):
    stride = -(-13 * depth // 8)
    rows = np.random.default_rng(0).integers(0, 256, (9, stride), dtype=np.uint8)
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    palette = chunk(b"PLTE", bytes(range(3 * 2**depth % 256)) if depth < 8 else bytes(range(256)) * 3)
    encoded = png(struct.pack(">IIBBBBB", 13, 9, depth, color_type, 0, 0, 0), palette * (color_type == 3), data)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    np.testing.assert_array_equal(decode_png(encoded, 10**6), expected)


def test_every_cut_and_every_changed_byte_gives_the_same_pixels_or_an_error():
    encoded = encode(photo(6, 7), "PNG")
    whole = decode(encoded)
    for place in range(len(encoded)):
        changed = bytearray(encoded)
        changed[place] ^= 0x5A
        for data in (encoded[:place], bytes(changed)):
            try:
                image = decode(data)
            except ValueError:
                continue
            else:
                np.testing.assert_array_equal(image, whole)


def test_missing_rows_and_colors_are_not_made_up():
    header = b"\0\0\0\2\0\0\0\2\x08\3\0\0\0"
    rows = zlib.compress(b"\0\0\1\0\2\0")
    palette = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    assert decode_png(png(header, palette, chunk(b"IDAT", rows)), 10**6) is None  # index 2 of a palette of two colors
    assert decode_png(png(header, palette, chunk(b"IDAT", rows[:-3])), 10**6) is None
    assert decode_png(png(header, chunk(b"IDAT", rows)), 10**6) is None
