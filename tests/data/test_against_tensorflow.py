"""Compares pixels and boxes with TensorFlow, an independent implementation except for libjpeg."""

import json
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.data.crops import BoxGuided, Central, ResizeThenCentral
from resnet_jax.data.decode import decode
from resnet_jax.data.hashing import uniforms
from resnet_jax.data.resize import RESIZES, apply_view
from tests.data.encoded import encode, photo

pytestmark = pytest.mark.slow

SIZES = [(375, 500), (500, 333), (256, 256), (1200, 800), (240, 700)]
KINDS = [
    f"{crop} {resize}"
    for crop in ("central", "resize")
    for resize in RESIZES
    # TensorFlow's bicubic differs (a = -0.5); test_resize.py compares ours with its definition.
    if resize != "bicubic" and (crop, resize) != ("central", "bilinear_tf1")
]
DRAWS = 10_000
R1 = {"height": 375, "width": 500, "min_object_covered": 0.1, "aspect": (0.75, 1.33), "area": (0.05, 1.0)}
CASES = {
    "r1, no box": R1 | {"boxes": []},
    "r1, one small box": R1 | {"boxes": [[0.1, 0.6, 0.35, 0.9]]},
    "r1, two boxes": R1 | {"boxes": [[0.0, 0.0, 0.2, 0.2], [0.5, 0.4, 1.0, 0.7]]},
    "flax example": R1 | {"boxes": [], "area": (0.08, 1.0), "aspect": (3 / 4, 4 / 3)},
    "most of a tall image's object": R1
    | {"boxes": [[0.3, 0.2, 0.8, 0.8]], "height": 640, "width": 200}
    | {"min_object_covered": 0.7},
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The results of TensorFlow for five photos and for the cases."""
    directory = tmp_path_factory.mktemp("tensorflow")
    for number, size in enumerate(SIZES):
        (directory / f"{number}.jpg").write_bytes(encode(photo(*size, seed=number), "JPEG", quality=92))
    (directory / "cases.json").write_text(json.dumps({name: case | {"draws": DRAWS} for name, case in CASES.items()}))
    command = [sys.executable, "-m", "tests.data.tensorflow_reference", str(directory)]
    subprocess.run(command, check=True, capture_output=True)
    return directory


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_pixels(reference, kind):
    name, resize = kind.split()
    crop = {"central": Central, "resize": ResizeThenCentral}[name](224, 224 / 256)
    with np.load(reference / "images.npz") as expected:
        for number in range(len(SIZES)):
            image, out = decode((reference / f"{number}.jpg").read_bytes()), np.zeros((224, 224, 3), np.uint8)
            apply_view(image, crop(*image.shape[:2], np.zeros((0, 4)), []), RESIZES[resize], out)
            difference = abs(out - expected[f"{number} {kind}"].clip(0, 255)).mean()
            print(f"{kind}, {SIZES[number]}: {difference:.3f} grey levels")
            assert difference < 1


def covered(boxes, case):
    """Returns, for each box, the largest fraction of an object's area inside it."""
    height, width = case["height"], case["width"]
    corners = np.array(case["boxes"] or [[0, 0, 1, 1]]) * [height, width, height, width]
    shares = []
    for top, left, bottom, right in corners.astype(int):
        rows = np.minimum(boxes[:, 0] + boxes[:, 2], bottom) - np.maximum(boxes[:, 0], top)
        columns = np.minimum(boxes[:, 1] + boxes[:, 3], right) - np.maximum(boxes[:, 1], left)
        shares.append(rows.clip(0) * columns.clip(0) / ((bottom - top) * (right - left)))
    return np.max(shares, 0)


def largest_gap(ours, theirs):
    """Returns the Kolmogorov-Smirnov statistic: the largest distance between two distribution functions."""
    values = np.concatenate([ours, theirs])
    shares = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (ours, theirs)]
    return abs(shares[0] - shares[1]).max()


@pytest.mark.parametrize("name", CASES)
def test_box_guided_crops_have_tensorflows_distribution(reference, name):
    case = CASES[name]
    crop = BoxGuided(224, case["area"], case["aspect"], case["min_object_covered"])
    boxes = np.array(case["boxes"], np.float32).reshape(-1, 4)
    draws = uniforms(1, np.arange(DRAWS), crop.num_uniforms)
    ours = np.array([crop(case["height"], case["width"], boxes, row.tolist()).box for row in draws])
    with np.load(reference / "boxes.npz") as expected:
        theirs = expected[name]
    measures = {
        "area": lambda box: box[:, 2] * box[:, 3],
        "aspect": lambda box: box[:, 3] / box[:, 2],
        "coverage": lambda box: covered(box, case),
        "top": lambda box: box[:, 0],
        "left": lambda box: box[:, 1],
    }
    for measure, of in measures.items():
        gap = largest_gap(of(ours), of(theirs))
        print(f"{name}, {measure}: {gap:.4f}")
        assert gap < 1.95 * np.sqrt(2 / DRAWS)  # exceeded with probability 0.001 if the distributions are equal
