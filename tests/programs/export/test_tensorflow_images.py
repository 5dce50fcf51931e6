"""The pixels of an export in TensorFlow equal those of the data path."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pixels")
    command = [sys.executable, "-m", "tests.programs.export.tensorflow_check", "pixels", str(directory)]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads((directory / "pixels.json").read_text())


@pytest.mark.parametrize("name", ["bilinear", "area", "bilinear_antialias", "bicubic_antialias"])
def test_kernels_are_equal(found, name):
    cases = {key: value for key, value in found["kernels"].items() if key.split()[0] == name}
    assert len(cases) > 30
    assert {key: value for key, value in cases.items() if value != [0.0, 0]} == {}


@pytest.mark.parametrize("name", ["bicubic", "bilinear_tf1"])
def test_kernels_in_float32_are_equal_but_for_rounding(found, name):
    cases = {key: value for key, value in found["kernels"].items() if key.split()[0] == name}
    # Images one pixel wide or high give many values that end in exactly .5: there the last bit of a sum decides.
    usual = {key: value for key, value in cases.items() if not {"1x1", "1x7", "9x1"} & set(key.split())}
    print(name, {key: value for key, value in cases.items() if value[1]})
    assert max(largest for _, largest in cases.values()) <= 1
    assert max(share for share, _ in usual.values()) < 1e-3
    assert sum(share for share, _ in usual.values()) / len(usual) < 1e-4


def test_views_are_equal(found):
    assert len(found["views"]) == 4 * 2 * 25
    assert {key: value for key, value in found["views"].items() if value != [0.0, 0]} == {}


def test_files_are_decoded_equally(found):
    usual = {key: value for key, value in found["decoded"].items() if "cmyk" not in key}
    assert len(usual) == 10
    assert {key: value for key, value in usual.items() if value != [0.0, 0]} == {}


def test_cmyk_files_are_decoded(found):
    cases = [value for key, value in found["decoded"].items() if "cmyk" in key]
    print(cases)
    assert len(cases) == 2
