"""SavedModels: both signatures, run in a process that imports only TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.errors import UsageError
from resnet_jax.programs.export.saved_model import run_saved_model, write_saved_model


def test_without_tensorflow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    preprocessing = EvalPreprocessing(12, "central", 0, "area", None)
    with pytest.raises(UsageError, match=r"^a SavedModel needs TensorFlow.*pip install -e '.\[tensorflow\]'"):
        write_saved_model(tmp_path / "saved_model", lambda variables, images: {}, {}, preprocessing=preprocessing)
    assert not (tmp_path / "saved_model").exists()
    with pytest.raises(UsageError, match="needs TensorFlow"):
        run_saved_model(tmp_path, images=np.zeros((1, 12, 12, 3), np.uint8))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("exports")
    for command in ("write", "serve"):
        run = [sys.executable, "-m", "tests.programs.export.tensorflow_check", command, str(directory)]
        done = subprocess.run(run, check=True, capture_output=True, text=True)
        assert command == "serve" or done.stderr == ""  # TensorFlow logs nothing
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image", "image_bytes", "serving_default"])
@pytest.mark.parametrize("batch", [0, 1, 3, 42])
def test_signatures_compute_what_jax_does(directory, name, batch):
    with np.load(directory / "sample.npz") as sample, np.load(directory / "served.npz") as served:
        probabilities, classes = (served[f"{name} {batch} {key}"] for key in ("probabilities", "classes"))
        assert probabilities.shape == (batch, 7) and probabilities.dtype == np.float32
        assert classes.shape == (batch,) and classes.dtype == np.int64
        np.testing.assert_allclose(probabilities, sample["probabilities"][:batch], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(classes, sample["classes"][:batch])
        assert len(set(sample["classes"].tolist())) > 1  # one class for all images would hide an error


@pytest.mark.slow
def test_the_weights_are_there_once(directory):
    with np.load(directory / "sample.npz") as sample:
        weights = int(sample["weights_bytes"])
    size = sum(file.stat().st_size for file in (directory / "saved_model").rglob("*") if file.is_file())
    code = (directory / "saved_model" / "saved_model.pb").stat().st_size
    print(f"{weights} bytes of weights, {size} in all, {code} of code")
    assert size - code < 1.05 * weights
    assert code < weights
