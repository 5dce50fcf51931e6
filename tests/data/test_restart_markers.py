import io
import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from resnet_jax.data.crops import Box, Central, RandomResized
from resnet_jax.data.decode import open_image
from resnet_jax.data.jpeg import find_frame
from resnet_jax.data.loader import Loader
from resnet_jax.data.restart_markers import cut_box
from resnet_jax.data.sources import Example
from tests.data.encoded import encode, photo

SAMPLINGS = {"444": 0x111111, "422": 0x211111, "420": 0x221111, "440": 0x121111, "411": 0x411111}


def marked(subsampling="420", height=75, width=101, interval=1, seed=0):
    """A JPEG file with a restart marker after every `interval` MCUs."""
    image = photo(height, width, seed)
    if subsampling == "gray":
        return encode(image, "JPEG", "L", quality=85, restart_marker_blocks=interval)
    options = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_RST_INTERVAL, interval]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[subsampling]]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def of_box(encoded, box):
    pixels, place = open_image(encoded).decode_box(box)
    assert (place.height, place.width) == (box.height, box.width) and min(place.top, place.left) >= 0
    got = pixels[place.top : place.top + place.height, place.left : place.left + place.width]
    assert got.shape == (box.height, box.width, 3)
    return got


def of_whole(encoded, box):
    image = open_image(encoded)
    return image.decode_rows(image.height)[box.top : box.top + box.height, box.left : box.left + box.width]


def boxes(height, width, count=60, seed=0):
    """Random boxes, half of which touch a border or a corner of the image."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        rows, columns = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        yield Box([top, 0, height - rows][number % 3], [left, 0, width - columns][number // 3 % 3], rows, columns)


@pytest.mark.parametrize("subsampling", [*SAMPLINGS, "gray"])
def test_every_pixel_alone_is_that_of_the_whole(subsampling):
    encoded = marked(subsampling, 33, 67)
    whole, cuts = of_whole(encoded, Box(0, 0, 33, 67)), 0
    for top, left in itertools.product((0, 7, 8, 15, 16, 17, 31, 32), range(67)):
        np.testing.assert_array_equal(of_box(encoded, Box(top, left, 1, 1))[0, 0], whole[top, left])
        cuts += cut_box(encoded, find_frame(encoded), Box(top, left, 1, 1)) is not None
    assert cuts > 8 * 67 / 2  # most are cut, the others are in the first interval of a narrow image


@pytest.mark.parametrize("size", [(64, 96), (75, 101), (131, 17), (1, 90), (49, 197)])
@pytest.mark.parametrize("subsampling", [*SAMPLINGS, "gray"])
def test_boxes_of_all_sizes_at_all_borders(subsampling, size):
    encoded = marked(subsampling, *size)
    for box in boxes(*size):
        np.testing.assert_array_equal(of_box(encoded, box), of_whole(encoded, box), err_msg=str(box))


@pytest.mark.parametrize("interval", [2, 3, 5, 7, 14, 28, 1000])
def test_other_intervals_than_one(interval):
    encoded = marked("420", 90, 224 - 3, interval)  # 14 MCUs in a row
    for box in boxes(90, 221):
        np.testing.assert_array_equal(of_box(encoded, box), of_whole(encoded, box), err_msg=str(box))
    corner = cut_box(encoded, find_frame(encoded), Box(60, 180, 9, 9))
    assert (corner is None) == (interval in (3, 5, 1000))  # these do not make rectangles of equal size, or one only
    if corner is not None:
        assert (corner.top, corner.left) == {2: (48, 160), 7: (48, 112), 14: (48, 0), 28: (32, 0)}[interval]


def test_fast_dct():
    encoded, box = marked(), Box(40, 50, 20, 30)
    pixels, place = open_image(encoded, fast_dct=True).decode_box(box)
    expected = open_image(encoded, fast_dct=True).decode_rows(75)[40:60, 50:80]
    np.testing.assert_array_equal(pixels[place.top : place.top + 20, place.left : place.left + 30], expected)
    assert (of_box(encoded, box) != expected).any()


def test_only_the_part_under_the_box_is_decoded():
    encoded = marked("420", 400, 600)
    pixels, place = open_image(encoded).decode_box(Box(202, 302, 30, 40))
    assert pixels.shape == (48, 64, 3) and place == Box(10, 14, 30, 40)
    cut = cut_box(encoded, find_frame(encoded), Box(202, 302, 30, 40))
    assert len(cut.encoded) < len(encoded) / 10
    assert np.asarray(Image.open(io.BytesIO(cut.encoded))).shape == (48, 64, 3)


def test_files_without_markers_and_pixels():
    plain = encode(photo(75, 101), "JPEG")
    box = Box(40, 50, 20, 30)
    assert cut_box(plain, find_frame(plain), box) is None
    np.testing.assert_array_equal(of_box(plain, box), of_whole(plain, box))
    for image in (photo(75, 101), encode(photo(75, 101), "PNG"), encode(photo(75, 101), "JPEG", progressive=True)):
        np.testing.assert_array_equal(of_box(image, box), of_whole(image, box))


def intervals(encoded):
    """Splits a file with a marker after every MCU: its header, and the data of each interval."""
    scan = find_frame(encoded).scan
    found, start = [], scan
    for place in range(scan, len(encoded) - 1):
        if encoded[place] == 0xFF and encoded[place + 1] != 0:
            found.append(encoded[start:place])
            start = place + 2
    return encoded[:scan], found


def joined(header, parts, codes=None):
    codes = itertools.cycle(range(0xD0, 0xD8)) if codes is None else codes
    pieces = [header]
    for part, code in zip(parts, codes, strict=False):
        pieces += [part, bytes([0xFF, code])]
    return b"".join(pieces)[:-2] + b"\xff\xd9"


def wrong(kind):
    """A file whose markers are wrong in one way."""
    encoded = marked("420", 160, 208)  # 10 rows of 13 MCUs
    header, parts = intervals(encoded)
    codes = list(itertools.islice(itertools.cycle(range(0xD0, 0xD8)), len(parts)))
    assert len(parts) == 130 and joined(header, parts) == encoded
    cases = {
        "an interval is missing": lambda: joined(header, parts[:20] + parts[21:]),
        "eight intervals are missing": lambda: joined(header, parts[:20] + parts[28:]),
        "eight intervals too many": lambda: joined(header, parts[:20] + parts[12:]),
        "eight intervals too many at the start": lambda: joined(header, parts[:8] + parts),
        "one interval too many at the end": lambda: joined(header, [*parts, parts[0]]),
        "an interval is empty": lambda: joined(header, [*parts[:20], b"", *parts[21:]]),
        "an interval holds two MCUs": lambda: joined(header, [*parts[:70], parts[70] + parts[71], *parts[72:], b"\1"]),
        "an interval is cut": lambda: joined(header, [*parts[:70], parts[70][:-4], *parts[71:]]),
        "two markers are exchanged": lambda: joined(header, parts, [*codes[:30], codes[31], codes[30], *codes[32:]]),
        "all markers are shifted": lambda: joined(header, parts, codes[1:] + codes[:1]),
        "all markers are the same": lambda: joined(header, parts, [0xD0] * 130),
        "an end in the middle": lambda: joined(header, parts, [*codes[:30], 0xD9, *codes[31:]]),
        "a scan in the middle": lambda: joined(header, parts, [*codes[:30], 0xDA, *codes[31:]]),
        "a fill byte": lambda: joined(header, [*parts[:30], parts[30] + b"\xff", *parts[31:]]),
        "the wrong interval": lambda: encoded.replace(b"\xff\xdd\0\4\0\1", b"\xff\xdd\0\4\0\x0d"),
        "no interval": lambda: encoded.replace(b"\xff\xdd\0\4\0\1", b"\xff\xdd\0\4\0\0"),
        "a wider image": lambda: patched(encoded, 2, 230),
        "a narrower image": lambda: patched(encoded, 2, 190),
        "a taller image": lambda: patched(encoded, 0, 400),
        "other subsampling": lambda: patched_sampling(encoded, 0x11),
        "half of the file": lambda: encoded[: len(encoded) // 2] + b"\xff\xd9",
    }
    return cases[kind]() if kind else tuple(cases)


def patched(encoded, place, value):
    offset = find_frame(encoded).offset + place
    return encoded[:offset] + value.to_bytes(2, "big") + encoded[offset + 2 :]


def patched_sampling(encoded, value):
    offset = find_frame(encoded).offset + 6
    return encoded[:offset] + bytes([value]) + encoded[offset + 1 :]


@pytest.mark.parametrize("kind", wrong(None))
def test_wrong_markers_give_the_pixels_of_the_whole(kind):
    encoded = wrong(kind)
    frame = find_frame(encoded)
    for box in boxes(frame.height, frame.width, count=40):
        np.testing.assert_array_equal(of_box(encoded, box), of_whole(encoded, box), err_msg=str(box))


def test_damaged_data_give_the_pixels_of_the_whole():
    encoded = marked("420", 96, 128)
    scan, rng = find_frame(encoded).scan, np.random.default_rng(0)
    for number in range(400):
        damaged = bytearray(encoded)
        for place in rng.integers(scan, len(encoded) - 2, size=1 + number % 3):
            damaged[place] = [0xFF, 0, int(rng.integers(256))][number % 3]
        box = next(boxes(96, 128, 1, seed=number))
        np.testing.assert_array_equal(of_box(bytes(damaged), box), of_whole(bytes(damaged), box), err_msg=str(number))


def test_a_damaged_header_gives_the_pixels_of_the_whole_or_an_error():
    encoded, rng, equal = marked("420", 48, 64), np.random.default_rng(1), 0
    for _ in range(300):
        damaged = bytearray(encoded)
        damaged[rng.integers(2, find_frame(encoded).scan)] = int(rng.integers(256))
        try:
            image = open_image(bytes(damaged), max_pixels=10**6)
            box = Box(image.height // 2, image.width // 2, 1 + image.height // 4, 1 + image.width // 4)
            expected = of_whole(bytes(damaged), box)
        except ValueError:
            continue
        np.testing.assert_array_equal(of_box(bytes(damaged), box), expected)
        equal += 1
    assert equal > 50


class _Photos:
    name, class_names = "photos", ("one", "two")

    def __init__(self, files):
        self._files = files

    def __len__(self):
        return len(self._files)

    def __getitem__(self, index):
        return Example(self._files[index], index % 2)

    def where(self, index):
        return str(index)


@pytest.mark.parametrize("training", [True, False])
def test_batches_are_those_of_files_without_markers(training):
    images = [photo(120 + 7 * seed, 150 - 5 * seed, seed) for seed in range(6)]
    batches = []
    for options in ({}, {"restart_marker_blocks": 1}):
        files = [encode(image, "JPEG", quality=90, subsampling="4:2:0", **options) for image in images]
        crop = RandomResized(64) if training else Central(64)
        batches.append(Loader(_Photos(files), batch_size=6, training=training, crops=crop).batch(3 * training).batch)
    np.testing.assert_array_equal(batches[0].image, batches[1].image)
    np.testing.assert_array_equal(batches[0].label, batches[1].label)
