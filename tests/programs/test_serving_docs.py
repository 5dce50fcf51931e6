"""Runs the code blocks of docs/serving.md unchanged."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from resnet_jax.data.sources import open_source
from resnet_jax.programs.export.export import export
from resnet_jax.programs.export.sample import predict_images
from tests import paths
from tests.weights.untrained_weights import untrained

DOCS = paths.ROOT / "docs" / "serving.md"
NAMES = [f"kind {number}" for number in range(10)]
SMALL = {"data.image_size": 32, "data.resize": "bicubic"}
RESNET_18 = SMALL | {"model.name": "resnet", "model.depth": 18, "model.features": 64}


def program(name):
    """Returns the code block that is marked with a name."""
    return re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]


def served(directory, formats, changes=SMALL):
    """Makes `export` and `photo.jpg` in a directory; returns this program's probabilities for the photograph."""
    inference, selected = untrained(changes, devices=jax.devices()[:1])
    assert export(inference, selected, NAMES, directory / "export", formats) == 0
    size = {"image_height": 300, "image_width": 211}
    source = open_source("synthetic_jpeg", training=False, num_train=1, num_eval=1, num_classes=1, **size)
    (directory / "photo.jpg").write_bytes(source[0].image)
    pixels = inference.make_loader(source, 1).first_images(1)
    np.save(directory / "pixels.npy", pixels[0])
    return predict_images(inference, selected.variables, pixels)["probabilities"][0]


def run(name, directory, *, before="", more=""):
    command = [sys.executable, "-I", "-c", before + program(name) + more]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(printed, probabilities):
    *name, probability = printed.split()
    assert " ".join(name) == NAMES[probabilities.argmax()]
    assert float(probability) == pytest.approx(probabilities.max(), abs=1e-4)


def test_with_jax(tmp_path):
    probabilities = served(tmp_path, ("jax",))
    check(run("jax", tmp_path), probabilities)


@pytest.mark.slow
def test_with_onnx_runtime(tmp_path):
    pytest.importorskip("onnxruntime")
    probabilities = served(tmp_path, ("onnx",))
    check(run("onnx", tmp_path), probabilities)


@pytest.mark.slow
def test_with_tensorflow(tmp_path):
    probabilities = served(tmp_path, ("saved_model",))
    check(run("tensorflow", tmp_path), probabilities)


@pytest.mark.slow
def test_with_pytorch(tmp_path):
    pytest.importorskip("torch")
    probabilities = served(tmp_path, ("safetensors",), RESNET_18)
    more = """
import numpy as np, torch
inside = json.load(open("export/model.json"))["preprocessing"]["inside"]
mean, std = torch.tensor(inside["mean"]), torch.tensor(inside["std"])
pixels = torch.tensor(np.load("pixels.npy").astype("float32"))
given = (pixels / 255 - mean / 255) / (std / 255)
answer = torch.softmax(network(given.permute(2, 0, 1)[None])[0], 0)
print(names[int(answer.argmax())], float(answer.max()))
"""
    # The package index has no CPU-only torchvision: use the ResNet of the benchmarks in place of torchvision's.
    before = f"""
import sys, types
sys.path.append({str(DOCS.parent.parent)!r})
from benchmarks.torch_resnet import ResNet
models = types.SimpleNamespace(resnet18=lambda num_classes: ResNet(18, num_classes))
sys.modules["torchvision"] = types.SimpleNamespace(models=models)
"""
    check(run("torch", tmp_path, before=before, more=more), probabilities)
