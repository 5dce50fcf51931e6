import shutil
import zlib

import numpy as np
import pytest
import simplejpeg

from resnet_jax.data.jpeg import find_frame
from resnet_jax.data.resize import area
from resnet_jax.data.restart_markers import best_interval, has_markers
from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare.marking import Marking, encode_with_markers, find_tool
from resnet_jax.programs.prepare.rewriting import Rewrite
from resnet_jax.programs.prepare.shrinking import Shrink
from tests.data.encoded import encode, photo
from tests.programs.prepare.jpegtran import install, known_file, pixels_of, teach

IMAGE = photo(90, 130)


@pytest.fixture
def tool(tmp_path):
    return install(tmp_path / "bin")


@pytest.fixture
def marking(tool):
    return Marking(str(tool), verify_all=True)


@pytest.mark.parametrize(
    ("options", "interval"),
    [
        ({"subsampling": "4:2:0"}, 1),
        ({"subsampling": "4:2:2"}, 1),
        ({"subsampling": "4:2:0", "progressive": True}, 9),  # a marker for each row: others would add more than 5 %
        ({"subsampling": "4:4:4", "quality": 98}, 1),  # 17 MCUs in a row, a prime number
        ({"mode": "L", "quality": 98}, 1),
    ],
)
def test_a_file_gets_a_marker_after_every_mcu(tool, marking, options, interval):
    plain = known_file(tool, IMAGE, **options)
    marked = marking(plain)
    assert has_markers(marked) and not has_markers(plain)
    assert find_frame(marked).restart_interval == interval
    np.testing.assert_array_equal(pixels_of(marked), pixels_of(plain))
    assert marking(marked) is marked


def test_mcus_of_8_pixels_are_joined_where_they_divide_a_row(tool, marking):
    for width, interval in {128: 2, 120: 3, 136: 1, 8 * 25: 1, 8 * 9: 3}.items():
        marked = marking(known_file(tool, photo(40, width), subsampling="4:4:4", quality=99))
        assert find_frame(marked).restart_interval == best_interval(marked) == interval


def test_a_file_with_few_bytes_gets_a_marker_after_every_row(tool, marking):
    marked = marking(known_file(tool, photo(200, 320), quality=8, optimize=True))
    assert find_frame(marked).restart_interval == 320 // 16 and has_markers(marked)


def test_files_that_cannot_have_markers(tool, marking):
    with pytest.raises(ValueError, match="it is not a JPEG file"):
        marking(encode(IMAGE, "PNG"))
    with pytest.raises(ValueError, match="Premature end"):
        marking(encode(IMAGE, "JPEG"))
    with pytest.raises(ValueError, match="more than config.data.max_image_pixels=100"):
        Marking(str(tool), max_pixels=100)(known_file(tool, IMAGE))
    print_colors = encode(IMAGE, "JPEG", "CMYK")
    teach(tool, print_colors, print_colors, "1B")
    with pytest.raises(ValueError, match="must be decoded as a whole"):
        marking(print_colors)


def sampled(tool, *, in_sample):
    """A file whose pixels are or are not compared by default, and one that the tool makes of it with other pixels."""
    for seed in range(1000):
        plain = encode(photo(40, 56, seed), "JPEG")
        if (zlib.crc32(plain) % 32 == 0) == in_sample:
            teach(tool, plain, encode(photo(40, 56, seed + 1), "JPEG", restart_marker_blocks=1), "1B")
            return plain
    raise AssertionError


def test_pixels_are_compared_before_and_after(tool, marking):
    plain = sampled(tool, in_sample=True)
    with pytest.raises(UsageError, match=r"changed the pixels of an image: use another version.*verify_all=True"):
        Marking(str(tool))(plain)
    other = sampled(tool, in_sample=False)
    assert has_markers(Marking(str(tool))(other))
    for file in (plain, other):
        with pytest.raises(ValueError, match="its pixels would change"):
            marking(file)
        assert Rewrite(None, marking)(file) == (file, "", "its pixels would change")


def test_a_tool_that_cannot_be_run_or_found(tool, monkeypatch):
    monkeypatch.setenv("PATH", str(tool.parent))
    assert find_tool() == str(tool)
    tool.chmod(0o644)
    with pytest.raises(UsageError, match="cannot be run .*Permission denied.*: install libjpeg-turbo again"):
        Marking(str(tool))(encode(IMAGE, "JPEG"))
    with pytest.raises(UsageError, match="is not on the PATH: install it with apt install libjpeg-turbo-progs"):
        find_tool()


def test_shrunk_images_are_written_with_markers(marking):
    encoded = encode(photo(200, 300), "JPEG", quality=95)
    plain, marked = Shrink(100, 85)(encoded), Shrink(100, 85, markers=True)(encoded)
    assert has_markers(marked) and not has_markers(plain)
    exact = np.empty((100, 150, 3), np.uint8)
    area(pixels_of(encoded), exact)
    losses = [np.abs(pixels_of(file).astype(int) - exact).mean() for file in (plain, marked)]
    assert losses[1] < 1.05 * losses[0]  # the other encoder is as exact
    rewrite = Rewrite(Shrink(100, 85, markers=True), marking)
    assert rewrite(encoded) == (marked, "", "") and rewrite.variant == "short100_q85_restart_markers"
    assert (Rewrite().variant, Rewrite(None, marking).variant) == (None, "restart_markers")
    expected = encode(IMAGE, "JPEG", quality=85, subsampling="4:2:0")
    np.testing.assert_array_equal(pixels_of(encode_with_markers(IMAGE, 85)), pixels_of(expected))


@pytest.mark.skipif(shutil.which("jpegtran") is None, reason="needs jpegtran of libjpeg-turbo")
@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411", "gray"])
def test_the_real_tool(subsampling):
    colors = {"colorspace": "GRAY"} if subsampling == "gray" else {"colorsubsampling": subsampling}
    pixels = np.ascontiguousarray(IMAGE[:, :, :1]) if subsampling == "gray" else IMAGE
    plain = simplejpeg.encode_jpeg(pixels, quality=95, **colors)
    marked = Marking(find_tool(), verify_all=True)(plain)
    assert has_markers(marked)
    np.testing.assert_array_equal(pixels_of(marked), pixels_of(plain))
    with pytest.raises(ValueError, match="(?i)premature end"):
        Marking(find_tool())(plain[: len(plain) // 2] + b"\xff\xd9")
