"""`load_weights`: the variables of a model from a file, in one call."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from resnet_jax.errors import UsageError
from resnet_jax.models import create_model
from resnet_jax.nested import by_path
from resnet_jax.weights import load_weights
from resnet_jax.weights.compatibility import model_settings
from tests.models.networks import evaluation_logits, random_variables
from tests.weights.state_dicts import SETTINGS, model_of, settings, state_dict, variables

IMAGES = jnp.ones((2, 32, 32, 3))


@pytest.fixture
def file(tmp_path):
    save_file(state_dict(), tmp_path / "resnet18.safetensors")
    return tmp_path / "resnet18.safetensors"


def test_the_variables_are_those_of_the_file(file):
    model = model_of()
    loaded = load_weights(file, model)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables())
    logits = evaluation_logits(model, loaded, IMAGES)
    np.testing.assert_array_equal(logits, evaluation_logits(model, variables(), IMAGES))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.stem": "deep", "model.shortcut": "average_pool", "model.squeeze_excitation": 0.5},
        {"model.name": "resnet_cifar", "model.depth": 8, "model.shortcut": "zero_pad"},
        {"model.depth": 50, "model.version": "v1"},
    ],
)
def test_the_settings_of_a_model_are_those_it_was_made_with(changes):
    expected = {key: value for key, value in settings(changes).items() if key.startswith("model.")}
    if expected["model.name"] == "resnet_cifar":
        expected["model.stem"] = "conv3"  # its only stem; `model.stem` has no effect there
    assert model_settings(model_of(changes)) == expected


def test_the_default_model_is_torchvisions_resnet50():
    expected = {key: value for key, value in SETTINGS.items() if key.startswith("model.")}
    assert model_settings(create_model(num_classes=1000)) == expected


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({"model.depth": 34}, "depth=18"),
        ({"model.features": 8}, "features=4"),
        ({"model.padding": "tf"}, "padding='torch'"),
        ({"model.version": "v2"}, "version='v1.5'"),
    ],
)
def test_the_message_for_another_network_names_the_arguments(file, changes, arguments):
    with pytest.raises(UsageError, match=rf"is a ResNet-18 \(PyTorch .* the model with create_model\({arguments}\)$"):
        load_weights(file, model_of(changes))


def test_other_input_is_named_and_can_be_accepted(file):
    (file.parent / "config.json").write_text(json.dumps({"mean": [0.5] * 3, "std": [0.5] * 3}))
    with pytest.raises(
        UsageError, match=r"with input.mean=\[127.5, .*, input.std=.*: pass any_input=True, and normalize"
    ):
        load_weights(file, model_of())
    jax.tree.map(np.testing.assert_array_equal, load_weights(file, model_of(), any_input=True), variables())


def test_a_new_head_of_other_classes(file):
    model = model_of(classes=7)
    with pytest.raises(UsageError, match="has 10 classes, the network 7"):
        load_weights(file, model)
    with pytest.raises(UsageError, match=r"params/head/bias, params/head/kernel are not loaded .*: pass variables="):
        load_weights(file, model, head=False)
    initial = random_variables(model, IMAGES)
    loaded = by_path(load_weights(file, model, head=False, variables=initial))
    for name, leaf in by_path(variables()).items():
        expected = by_path(initial)[name] if name.startswith("params/head/") else leaf
        np.testing.assert_array_equal(loaded[name], expected)


def test_a_missing_array_must_be_allowed_and_given(file):
    name = "layer1.0.conv1.weight"
    save_file({other: array for other, array in state_dict().items() if other != name}, file)
    model = model_of()
    with pytest.raises(UsageError, match="stage1_block1/conv1/kernel, not in the file"):
        load_weights(file, model)
    with pytest.raises(UsageError, match=r"stage1_block1/conv1/kernel are not loaded .*: pass variables="):
        load_weights(file, model, allow_missing=("stage1_block1/conv1",))
    loaded = load_weights(file, model, allow_missing=("stage1_block1/conv1",), variables=variables())
    jax.tree.map(np.testing.assert_array_equal, loaded, variables())
