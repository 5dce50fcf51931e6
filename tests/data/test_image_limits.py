import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from resnet_jax.data import decode as decode_module
from resnet_jax.data.decode import decode, image_size, open_image
from resnet_jax.data.image_limits import MAX_PIXELS
from resnet_jax.data.other_formats import FORMATS
from tests.data.encoded import encode, photo
from tests.data.test_png import chunk, png

SIDE = 16_000  # pixels; the square of it is more than MAX_PIXELS


def jpeg(side, **options):
    """A JPEG file of 32 x 32 pixels that states side x side."""
    data = bytearray(encode(photo(32, 32), "JPEG", **options))
    frame = data.find(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def stating(file_format, offset, layout, *mode):
    """A file of 32 x 32 pixels that states SIDE x SIDE in two numbers at `offset`, packed by `layout`."""
    data = bytearray(encode(photo(32, 32), file_format, *mode))
    struct.pack_into(layout, data, offset, SIDE, SIDE)
    return bytes(data)


def tiff(side):
    file = io.BytesIO()
    Image.fromarray(photo(32, 32)).save(file, "TIFF", compression="tiff_lzw")
    data = file.getvalue()
    (offset,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, offset)
    changed = bytearray(data)
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] in (256, 257):
            struct.pack_into("<H", changed, entry + 8, side)
    return bytes(changed)


BOMBS = {
    "JPEG": jpeg(65_500),
    "progressive JPEG": jpeg(65_500, progressive=True),
    "PNG": png(struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(1000)))),
    "16-bit PNG": png(struct.pack(">IIBBBBB", SIDE, SIDE, 16, 0, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(9)))),
    "WebP": stating("WEBP", 26, "<HH"),
    "WebP canvas": b"RIFF" + bytes(4) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + b"\xff\xff\0" * 2 + bytes(99),
    "GIF": stating("GIF", 6, "<HH", "P"),
    "BMP": stating("BMP", 18, "<ii"),
    "TIFF": tiff(SIDE),
    "PPM": b"P6 16000 16000 255\n" + bytes(99),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_states_a_huge_image_is_refused_without_memory(name):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="pixels, more than config.data.max_image_pixels=178956970: make it"):
            open_image(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    assert min(image_size(BOMBS[name])) >= SIDE


def test_the_limit_is_that_of_pillow():
    assert 2 * Image.MAX_IMAGE_PIXELS == MAX_PIXELS


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_an_image_of_as_many_pixels_as_allowed_is_read(kind, options):
    encoded = encode(photo(20, 30), kind, **(options if kind == "JPEG" else {}))
    assert open_image(encoded, 600).height == 20 and decode(encoded, 600).shape == (20, 30, 3)
    for function in (open_image, decode):
        with pytest.raises(ValueError, match="it has 20 x 30 pixels, more than config.data.max_image_pixels=599"):
            function(encoded, 599)


def test_fill_bytes_do_not_hide_the_frame_that_libjpeg_reads():
    hidden = jpeg(65_500)
    segment = b"\xff\xff\xc0" + bytes(0xC0 << 8)  # read as a segment 0xFF of 0xC000 bytes, it would hide the next
    with pytest.raises(ValueError, match="."):
        decode_all(hidden[:2] + segment + encode(photo(32, 32), "JPEG")[2:] + hidden[2:])


def decode_all(encoded):
    image = open_image(encoded)
    return image.decode_rows(image.height)


def test_a_jpeg_file_of_thousands_of_scans_is_refused():
    encoded = encode(photo(32, 32), "JPEG", progressive=True)
    assert decode(encoded).shape == (32, 32, 3)
    bomb = encoded[:-2] + encoded[encoded.find(b"\xff\xda") : -2] * 300 + encoded[-2:]
    with pytest.raises(ValueError, match="it is a JPEG file of .* scans, more than 1,000"):
        decode(bomb)


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo"), NotImplementedError(), MemoryError(), KeyError("tag")])
def test_any_error_of_any_decoder_is_a_value_error_of_one_line(error, monkeypatch):
    def fail(*_):
        raise error

    for name in ("decode_jpeg", "decode_png", "png_size", "decode_top", "decode_other", "stated_size"):
        monkeypatch.setattr(decode_module, name, fail)
    for encoded in (encode(photo(9, 9), kind) for kind in ("JPEG", "PNG", "GIF")):
        with pytest.raises(ValueError, match=type(error).__name__) as caught:
            decode_all(encoded)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=type(error).__name__):
        image_size(encode(photo(9, 9), "GIF"))


def test_an_image_is_not_enlarged_beyond_the_limit():
    from resnet_jax.data.resize import enlarge

    thin = np.zeros((1, 1000, 3), np.uint8)
    assert enlarge(thin, 4, max_pixels=16_000).shape == (4, 4000, 3)
    with pytest.raises(ValueError, match="4 x 4,000 pixels, more than config.data.max_image_pixels=15999"):
        enlarge(thin, 4, max_pixels=15_999)


@pytest.mark.parametrize(("width", "height"), [(0, 8), (8, 0), (0, 0)])
def test_an_image_without_pixels_is_unreadable_and_has_no_size(width, height):
    encoded = png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(b"")))
    for read in (image_size, open_image):
        with pytest.raises(ValueError, match="."):
            read(encoded)
