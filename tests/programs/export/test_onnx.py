"""The format 'onnx': the same outputs as the network in JAX, for every kind of network, with ONNX Runtime."""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.programs.export.export import METADATA, export
from resnet_jax.programs.export.formats import FORMATS
from resnet_jax.programs.export.model import Signatures
from resnet_jax.programs.export.onnx_file import open_session, run_onnx, write_onnx
from resnet_jax.programs.export.onnx_graph import BatchNormArrays
from tests.programs.export.test_hub_folder import NAMES, made
from tests.weights.untrained_weights import untrained

RESNET = {"model.name": "resnet", "model.depth": 18, "model.features": 8, "data.image_size": 40}
DEEP = RESNET | {"model.depth": 50, "model.features": 4}
V2 = {"model.version": "v2", "model.zero_init_last_bn": False}
NETWORKS = {
    "cifar": {},
    "cifar option A, standardized": {"model.shortcut": "zero_pad", "input.per_image": True},
    "cifar v2": V2,
    "cifar v2 option A": V2 | {"model.shortcut": "zero_pad"},
    "18": RESNET,
    "18 at an odd size": RESNET | {"data.image_size": 37},
    "18 of r1": RESNET | {"model.padding": "tf", "model.shortcut": "stage_projection", "input.std": (1.0, 1.0, 1.0)},
    "18 of r1, at a size of odd pools": RESNET | {"model.padding": "tf", "data.image_size": 42},
    "18 v2": RESNET | V2,
    "18 space to depth": RESNET | {"model.stem": "space_to_depth"},
    "18 blurred": RESNET | {"model.blur_pool": True},
    "50": DEEP,
    "50 v1": DEEP | {"model.version": "v1"},
    "50 v2": DEEP | V2,
    "50 D with squeeze-and-excitation": DEEP
    | {"model.stem": "deep", "model.shortcut": "average_pool", "model.squeeze_excitation": 0.25, "data.image_size": 37},
    "50 blurred": DEEP | {"model.blur_pool": True},
}


def test_a_batch_norm_is_a_product_and_a_sum():
    rng = np.random.default_rng(0)
    scale, bias, mean, var, x = rng.uniform(0.5, 1.5, (5, 7))
    norm = BatchNormArrays(scale, bias, mean, var, 1e-3)
    np.testing.assert_allclose(x * norm.factor + norm.offset, (x - mean) / np.sqrt(var + 1e-3) * scale + bias)


def test_without_the_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs the packages onnx and onnxruntime, .*: pip install -e '.\[onnx\]'"):
        FORMATS["onnx"].check(made({}))


def test_other_activations_than_float32_are_refused(monkeypatch):
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, sys)
    model = dataclasses.replace(made({}), signatures=Signatures(dtype="bfloat16"))
    with pytest.raises(UsageError, match="computes in float32, not bfloat16: set config.export.dtype=float32"):
        FORMATS["onnx"].check(model)


def with_different_outputs(model, images):
    """The model with a last layer so small that no probability rounds to 0 or 1, and the outputs for images."""
    predict, variables = jax.jit(model.step), model.variables
    for _ in range(9):
        outputs = predict(variables, images)
        if outputs["probabilities"].std() > 0.01 and outputs["probabilities"].max() < 0.9:
            return dataclasses.replace(model, variables=variables), outputs
        head = jax.tree.map(lambda leaf: leaf * np.float32(0.3), variables["params"]["head"])
        variables = variables | {"params": variables["params"] | {"head": head}}
    raise AssertionError(outputs["probabilities"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_outputs_are_those_of_jax(tmp_path, name):
    pytest.importorskip("onnxruntime")
    model = made(NETWORKS[name])
    side = model.preprocessing.image_size
    images = np.random.default_rng(0).integers(0, 256, (6, side, side, 3)).astype(np.uint8)
    images[0] = 17  # a uniform image
    model, expected = with_different_outputs(model, images)
    write_onnx(tmp_path / "model.onnx", model)
    for batch in (1, 6):
        outputs = run_onnx(tmp_path / "model.onnx", images[:batch])
        np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"][:batch], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(outputs["classes"], expected["classes"][:batch])
        assert outputs["classes"].shape == (batch,)


@pytest.mark.slow
def test_an_export_with_the_gate(tmp_path):
    pytest.importorskip("onnxruntime")
    inference, selected = untrained(RESNET, devices=jax.devices()[:1])
    assert export(inference, selected, NAMES, tmp_path / "export", ("onnx",)) == 0
    described = json.loads((tmp_path / "export" / METADATA).read_text())["formats"]["onnx"]
    assert described["file"] == "model.onnx" and described["compared"]["images"]["largest_difference"] <= 1e-5
    session = open_session(tmp_path / "export" / "model.onnx")
    stored = session.get_modelmeta().custom_metadata_map
    assert json.loads(stored["class_names"]) == list(NAMES)
    assert json.loads(stored["source"])["sha256"] == selected.sha256
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", 40, 40, 3])
    operations = {node.op_type for node in __import__("onnx").load(tmp_path / "export" / "model.onnx").graph.node}
    assert not operations & {"BatchNormalization", "Expand"}
