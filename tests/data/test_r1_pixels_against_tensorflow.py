"""The pixels of the r1 recipe equal TensorFlow's, given the same file, box and flip."""

import json
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.configs import resnet50_r1
from resnet_jax.data.crops import Box, ResizeThenCentral, View
from resnet_jax.data.decode import open_image
from resnet_jax.data.resize import apply_view, create_resize
from tests.data.encoded import encode, photo

pytestmark = pytest.mark.slow

FILES = {"small.jpg": (90, 120), "usual.jpg": (375, 500), "large.jpg": (900, 1411)}
# File, box (top, left, height, width): crops that shrink, that grow, and that do neither, at odd positions too.
BOXES = [
    ("small.jpg", (0, 0, 90, 120)),
    ("small.jpg", (7, 13, 61, 77)),
    ("usual.jpg", (0, 0, 375, 500)),
    ("usual.jpg", (31, 65, 280, 224)),
    ("usual.jpg", (17, 130, 224, 224)),
    ("large.jpg", (3, 11, 896, 896)),
    ("large.jpg", (0, 0, 900, 1411)),
    ("large.jpg", (401, 700, 120, 150)),
]
CASES = [{"file": file, "box": box, "flip": flip} for file, box in BOXES for flip in (False, True)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pixels")
    for number, (name, size) in enumerate(FILES.items()):
        (directory / name).write_bytes(encode(photo(*size, seed=number), "JPEG", quality=90))
    (directory / "cases.json").write_text(json.dumps(CASES))
    command = [sys.executable, "-m", "tests.data.tensorflow_r1_pixels", str(directory)]
    subprocess.run(command, check=True, capture_output=True)
    return directory


def ours(directory, file, view, *, flip=False, **changes):
    """Returns the image that the r1 recipe, with changes, makes of a view of a file."""
    data = resnet50_r1.get_config().data
    data.update(changes)
    image = open_image((directory / file).read_bytes(), fast_dct=data.fast_dct)
    out, flipped = np.zeros((224, 224, 3), np.uint8), flip and data.flip_before_resize
    view = view(image.height, image.width) if callable(view) else view
    apply_view(image.decode_rows(view.box.top + view.box.height), view, create_resize(data.resize), out, flip=flipped)
    return out[:, ::-1] if flip and not flipped else out


def differences(directory, number, prefix="decoded ", **changes):
    """Returns our pixels minus TensorFlow's, which decodes the whole file, or with the prefix '' only the crop."""
    case = CASES[number]
    out = ours(directory, case["file"], View(Box(*case["box"]), 224, 224), flip=case["flip"], **changes)
    with np.load(directory / "pixels.npz") as pixels:
        return out - pixels[f"{prefix}{number}"].astype(np.float64)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_training_pixels_are_those_of_r1(directory, number):
    difference = differences(directory, number)
    print(CASES[number], f"largest {abs(difference).max():.3f}, mean {difference.mean():+.4f}")
    assert abs(difference).max() <= 1
    assert abs(difference.mean()) <= 0.05


@pytest.mark.parametrize("number", range(len(CASES)))
def test_decoding_only_the_crop_changes_only_the_edge_columns(directory, number):
    """TensorFlow's fused operation does not decode the chroma beside the crop, which its edge columns depend on."""
    case = CASES[number]
    difference = differences(directory, number, prefix="")
    width = case["box"][3]
    position = np.arange(224) * width / 224  # in the crop, of each output column
    inside = (position >= 1) & (position <= width - 2)
    assert abs(difference[:, inside]).max() <= 1
    assert abs(difference[:, inside].mean()) <= 0.05
    print(case, f"largest at the edges {abs(difference).max():.3f}")


def test_the_comparison_notices_the_dct_and_the_place_of_the_flip(directory):
    number = CASES.index({"file": "large.jpg", "box": (3, 11, 896, 896), "flip": True})
    assert abs(differences(directory, number, flip_before_resize=False)).max() > 5
    assert differences(directory, number, fast_dct=False).mean() > 0.3


@pytest.mark.parametrize("file", FILES)
def test_evaluation_pixels_are_those_of_r1(directory, file):
    crop = ResizeThenCentral(224, 224 / 256)
    out = ours(directory, file, lambda height, width: crop(height, width, np.zeros((0, 4)), []))
    with np.load(directory / "pixels.npz") as pixels:
        difference = out - pixels[f"evaluation {file}"].astype(np.float64)
    assert abs(difference).max() <= 1
    assert abs(difference.mean()) <= 0.05
