import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from resnet_jax.data.decode import open_image
from resnet_jax.data.jpeg import Frame, decode_top, find_frame
from tests.data.encoded import encode, photo

SUBSAMPLINGS = ("444", "422", "420", "440", "411")


def sampled(subsampling, height=75, width=101, seed=0):
    return simplejpeg.encode_jpeg(photo(height, width, seed), 85, colorsubsampling=subsampling)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_the_top_rows_are_those_of_the_whole_bit_for_bit(subsampling):
    encoded = sampled(subsampling)
    frame, whole = find_frame(encoded), simplejpeg.decode_jpeg(encoded, "RGB")
    assert (frame.height, frame.width) == (75, 101)
    for rows in range(1, 76):
        top = decode_top(encoded, frame, rows)
        assert rows <= len(top) <= rows + 4
        np.testing.assert_array_equal(top[:rows], whole[:rows], err_msg=f"{rows} rows")


@pytest.mark.parametrize(
    "options", [{"mode": "L"}, {"restart_marker_blocks": 3}, {"optimize": True}, {"comment": "x" * 900}]
)
def test_other_files_with_one_scan(options):
    encoded = encode(photo(64, 80), "JPEG", **options)
    frame, whole = find_frame(encoded), np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    for rows in (1, 15, 16, 17, 40, 63, 64):
        np.testing.assert_array_equal(decode_top(encoded, frame, rows)[:rows], whole[:rows])


def test_only_the_needed_rows_are_decoded():
    encoded = sampled("420", 800, 600)
    assert len(open_image(encoded).decode_rows(100)) == 104
    assert len(open_image(encoded).decode_rows(800)) == 800


def test_the_offset_of_the_height():
    encoded = sampled("420")
    frame = find_frame(encoded)
    assert encoded[frame.offset : frame.offset + 4] == (75).to_bytes(2, "big") + (101).to_bytes(2, "big")
    assert frame == Frame(frame.offset, 75, 101)


def test_files_that_cannot_be_decoded_in_part_have_no_frame():
    image, encoded = photo(40, 48), sampled("420")
    assert find_frame(encode(image, "JPEG", progressive=True)) is None
    assert find_frame(encode(image, "JPEG", "CMYK")) is None
    assert find_frame(encode(image, "PNG")) is None
    assert find_frame(encoded[:-1]) is None  # the end is missing
    assert find_frame(encoded[:2] + b"\x00" + encoded[3:]) is None


@pytest.mark.parametrize("side", [0, 2])  # the height, the width
def test_an_image_without_rows_or_columns_is_rejected(side):
    encoded = bytearray(sampled("420"))
    place = find_frame(bytes(encoded)).offset + side
    encoded[place : place + 2] = b"\0\0"
    assert find_frame(bytes(encoded)) is None
    with pytest.raises(ValueError, match="."):
        open_image(bytes(encoded))


def test_any_prefix_of_a_file_is_rejected_or_parsed():
    encoded = sampled("420", 30, 40)
    for length in range(len(encoded)):
        assert find_frame(encoded[:length] + b"\xff\xd9") in (None, find_frame(encoded))


def test_a_damaged_file_is_read_as_pillow_reads_it():
    encoded = encode(photo(120, 160), "JPEG", quality=90)
    for seed in range(30):
        damaged = bytearray(encoded)
        place = np.random.default_rng(seed).integers(700, len(encoded) - 2)
        damaged[place] ^= 0x5A
        try:
            expected = np.asarray(Image.open(io.BytesIO(damaged)).convert("RGB"))
        except OSError:
            continue
        got = open_image(bytes(damaged)).decode_rows(120)
        np.testing.assert_array_equal(got, expected)


def test_rows_that_an_error_leaves_out_are_never_what_was_in_memory(monkeypatch):
    """libjpeg-turbo reports an error that follows a warning as a warning: simplejpeg then returns with rows missing."""
    encoded, rejected = encode(photo(24, 24), "JPEG", "L"), 0
    empty = np.empty
    for place in range(find_frame(encoded).offset, 400):
        damaged, found = encoded[:place] + b"\xff" + encoded[place:], []
        for fill in (0, 77):
            monkeypatch.setattr(np, "empty", lambda *shape, fill=fill: empty(*shape) * 0 + np.uint8(fill))
            try:
                found.append(open_image(damaged).decode_rows(24).tobytes())
            except ValueError:
                found.append("rejected")
        assert found[0] == found[1], place
        rejected += found[0] == "rejected"
    assert rejected > 0


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_pixels_do_not_depend_on_the_number_of_rows_decoded(subsampling, seed):
    picture = open_image(sampled(subsampling, 90 + seed, 64, seed))
    whole = picture.decode_rows(picture.height)
    assert whole.shape == (picture.height, picture.width, 3)
    for rows in (1, 33, 64, picture.height):
        np.testing.assert_array_equal(picture.decode_rows(rows)[:rows], whole[:rows])


def test_pixels_need_no_decoding():
    image = photo(20, 30)
    picture = open_image(image)
    assert (picture.height, picture.width) == (20, 30) and picture.decode_rows(1) is image
