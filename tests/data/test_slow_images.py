"""Files that a decoder would read for minutes are unreadable at once, and thin images cost no more than others."""

import contextlib
import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_jax.data import image_limits, other_formats, png
from resnet_jax.data.crops import Box, View
from resnet_jax.data.decode import decode, image_size
from resnet_jax.data.other_formats import decode_other, stored_kind
from resnet_jax.data.resize import apply_view, bilinear_tf1
from tests.data.encoded import encode, photo
from tests.data.test_png import chunk

PIECES = 3000  # more than the limit of the tests below


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    monkeypatch.setattr(other_formats, "_MOST_READS", 2000)
    monkeypatch.setattr(other_formats, "_MOST_VALUES", 2000)
    monkeypatch.setattr(other_formats, "_MOST_COMMENTS", 100)
    monkeypatch.setattr(png, "_MAX_CHUNKS", 1000)


def inserted(data, place, part):
    return data[:place] + part * PIECES + data[place:]


def gif(part):
    data = encode(photo(8, 8), "GIF", "P")
    return inserted(data, data.index(b"\x2c"), part)


def sixteen_bits(part):
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(file, "PNG")
    return inserted(file.getvalue(), 33, part)


def tiff(order, tag, kind):
    """A TIFF file of which one tag states PIECES values."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    tags = [(256, 3, 1, 4), (257, 3, 1, 4), (tag, kind, PIECES, 60)]
    packed = b"".join(struct.pack(f"{order}HHII", *entry) for entry in tags)
    return head + struct.pack(f"{order}IH", 8, len(tags)) + packed + bytes(8 * PIECES + 60)


FILES = {
    "comment of PPM": b"P6 #" + b"x" * PIECES + b"\n2 2 255\n" + bytes(12),
    "blanks of PPM": b"P6 " + b" " * PIECES + b"2 2 255\n" + bytes(12),
    "comments of a plain PPM": b"P3 2 2 255\n" + b"#x\n" * PIECES + b"1 " * 12,
    "comments of GIF": gif(b"\x21\xfe\x01c\0"),
    "parts of a comment of GIF": gif(b"\x21\xfe\x01c\x01c\0"),
    "chunks of PNG": inserted(encode(photo(8, 8), "PNG"), 33, chunk(b"teSt", b"")),
    "chunks of 16-bit PNG": sixteen_bits(chunk(b"teSt", b"")),
    "texts of 16-bit PNG": sixteen_bits(chunk(b"tEXt", b"a\0b")),
    "comments of CMYK JPEG": inserted(encode(photo(8, 8), "JPEG", "CMYK"), 2, b"\xff\xfe\0\2"),
    "boxes of JPEG 2000": inserted(encode(photo(8, 8), "JPEG2000"), 12, b"\0\0\0\x08free"),
    "strips of TIFF": tiff("<", 273, 4),
    "fractions of TIFF": tiff(">", 700, 5),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_many_small_pieces_is_unreadable(name):
    with pytest.raises(
        ValueError, match=r"too many small pieces|more than \S+ comments|more than \S+ values"
    ) as raised:
        decode(FILES[name])
    assert "\n" not in str(raised.value)
    for read in (image_size, stored_kind):  # some need only the beginning of the file
        with contextlib.suppress(ValueError):
            read(FILES[name])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "PPM", "TIFF", "BMP", "WEBP", "JPEG2000", "AVIF"])
def test_usual_files_need_few_pieces(kind):
    mode = "P" if kind == "GIF" else "RGB"
    data = encode(photo(300, 200), kind, mode)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_other(data, 10**6), pixels)


@pytest.mark.parametrize(("num_pixels", "is_alone"), [(2**24, False), (2**24 + 1, True)])
def test_large_images_are_decoded_one_after_the_other(num_pixels, is_alone):
    with image_limits.one_large_image(num_pixels):
        assert image_limits._decoding.locked() == is_alone
    assert not image_limits._decoding.locked()


def whole_then_cut(image, view, size):
    """Resizes the whole box, then cuts the square out of it, black outside."""
    box = view.box
    region = image[box.top : box.top + box.height, box.left : box.left + box.width]
    resized = np.empty((view.height, view.width, 3), np.uint8)
    bilinear_tf1(region, resized)
    padded = np.zeros((view.height + 4 * size, view.width + 4 * size, 3), np.uint8)
    padded[2 * size : 2 * size + view.height, 2 * size : 2 * size + view.width] = resized
    top, left = view.top + 2 * size, view.left + 2 * size
    return padded[top : top + size, left : left + size]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_part_of_a_resized_image_is_that_of_the_whole(data):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    number, size = (lambda low, high: data.draw(st.integers(low, high))), 9
    top, left = number(0, 15), number(0, 25)
    box = Box(top, left, number(1, 20 - top), number(1, 30 - left))
    height, width = number(1, 60), number(1, 60)
    view = View(box, height, width, number(-size, height + size), number(-size, width + size))
    out = np.full((size, size, 3), 77, np.uint8)
    apply_view(image, view, bilinear_tf1, out)
    np.testing.assert_array_equal(out, whole_then_cut(image, view, size))


def test_a_thin_image_takes_little_memory():
    image, out = np.zeros((65_500, 1, 3), np.uint8), np.empty((24, 24, 3), np.uint8)
    tracemalloc.start()
    apply_view(image, View(Box(0, 0, 65_500, 1), 65_500 * 24, 24, 65_500 * 12, 0), bilinear_tf1, out)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
