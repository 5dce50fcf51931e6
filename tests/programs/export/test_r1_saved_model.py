"""SavedModels that clients of TensorFlow's r1 ResNet call unchanged."""

import json
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.programs.export.export import check_request
from resnet_jax.programs.export.model import Signatures

KINDS = ("tensor", "image_bytes")
NAMES = ("predict", "serving_default")


@pytest.mark.parametrize(
    ("signatures", "formats", "message"),
    [
        (Signatures("r1"), ("saved_model",), "'r1' is not one of own, r1_tensor, r1_image_bytes"),
        (Signatures("r1_tensor"), ("jax",), "'r1_tensor' affects only SavedModels: set config.export.formats"),
        (Signatures("own", 8), ("saved_model",), "batch_size=8 has no effect: set config.export.signatures=r1_tensor"),
        (Signatures("r1_image_bytes", 8), ("saved_model",), "batch_size=8 has no effect"),
    ],
)
def test_contradictions_are_errors(tmp_path, signatures, formats, message):
    with pytest.raises(UsageError, match=message):
        check_request(tmp_path / "export", formats, signatures)


def test_what_r1_exports_is_accepted(tmp_path):
    for signatures in (
        Signatures("r1_tensor", 32),
        Signatures("r1_tensor"),
        Signatures("r1_image_bytes"),
        Signatures(),
    ):
        check_request(tmp_path / "export", ("saved_model",), signatures)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("r1")
    for task in ("write", "call"):
        run = [sys.executable, "-m", "tests.programs.export.r1_client", task, str(directory)]
        subprocess.run(run, check=True, capture_output=True)
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_client_of_r1_gets_the_answers_of_this_program(directory, kind, name):
    with np.load(directory / "sample.npz") as sample, np.load(directory / "answers.npz") as answers:
        classes, probabilities = (answers[f"{kind} {name} {key}"] for key in ("classes", "probabilities"))
        assert classes.dtype == np.int64 and probabilities.dtype == np.float32
        assert len(classes) == (4 if kind == "tensor" else 3)
        np.testing.assert_array_equal(classes, sample["classes"][: len(classes)])
        np.testing.assert_allclose(probabilities, sample["probabilities"][: len(classes)], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_signatures_are_those_of_r1(directory):
    """r1's own: `input` with a fixed batch or `image_bytes` of any number, and `classes` and `probabilities`."""
    signatures = json.loads((directory / "signatures.json").read_text())
    assert sorted(signatures) == sorted(f"{kind} {name}" for kind in KINDS for name in NAMES)
    for name in NAMES:
        tensor, files = (signatures[f"{kind} {name}"] for kind in KINDS)
        assert tensor["method"] == files["method"] == "tensorflow/serving/predict"
        assert tensor["inputs"] == {"input": ["float32", [4, 12, 12, 3]]}
        assert tensor["outputs"] == {"classes": ["int64", [4]], "probabilities": ["float32", [4, 10]]}
        assert files["inputs"] == {"image_bytes": ["string", [-1]]}
        assert {key: dtype for key, (dtype, _) in files["outputs"].items()} == {
            "classes": "int64",
            "probabilities": "float32",
        }
