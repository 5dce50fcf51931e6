"""Curves: points lie where their values are, few peaks are cut off, long curves are averaged."""

import re

import numpy as np
import pytest

from resnet_jax.programs.report import pictures
from resnet_jax.programs.report.curves import Curve, panel


def points(svg):
    found = [re.findall(r"([\d.]+),([\d.]+)", line) for line in re.findall(r'points="([^"]*)"', svg)]
    return [np.array(line, float) for line in found]


def test_the_points_of_a_line_lie_on_a_line():
    steps = np.arange(1.0, 101.0)
    (line,) = points(panel("loss", [Curve("a", steps, 3 - steps / 50, 0)]))
    slopes = np.diff(line[:, 1]) / np.diff(line[:, 0])
    assert len(line) == 100 and slopes == pytest.approx(slopes.mean(), rel=0.15)
    assert (np.diff(line[:, 0]) > 0).all() and line[-1, 0] == pytest.approx(448)


def test_unknown_values_are_left_out_and_long_curves_averaged():
    values = np.where(np.arange(100_000) % 2, np.nan, 1.0)
    (line,) = points(panel("loss", [Curve("a", np.arange(1.0, 100_001.0), values, 0)]))
    assert 200 <= len(line) <= 400 and len(set(line[:, 1])) == 1
    assert panel("loss", [Curve("a", np.ones(3), np.full(3, np.nan), 0)]) == ""
    assert "<circle" in panel("loss", [Curve("a", np.ones(1), np.ones(1), 0)])


def test_a_peak_is_cut_off():
    values = np.linspace(1, 2, 40)
    values[0] = 1000
    (line,) = points(panel("loss", [Curve("a", np.arange(1.0, 41.0), values, 0)]))
    assert line[0, 1] == line[:, 1].min() and line[5, 1] - line[-1, 1] > 40


@pytest.mark.parametrize("kind", ["tall", "small"])
def test_thumbnails_are_small(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 40, 3) if kind == "tall" else (8, 8, 3), np.uint8)
    drawn = pictures.thumbnail(pixels)
    assert ("data:image/jpeg" in drawn) == (kind == "tall") and len(drawn) < 4000


def test_a_picture_that_cannot_be_read_is_left_out(tmp_path):
    assert pictures.picture(tmp_path / "none.png", about="") == ""
    (tmp_path / "bad.png").write_bytes(b"x" * 200_000)
    assert pictures.picture(tmp_path / "bad.png", about="") == ""
