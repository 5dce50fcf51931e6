"""The flags that are suggested for weights include the image size that they were trained with, where it is known."""

import json

import pytest
from safetensors.numpy import save_file

from resnet_jax.errors import UsageError
from resnet_jax.experiment.network import network_settings, training_settings
from resnet_jax.weights import read_weights, write_safetensors
from resnet_jax.weights.compatibility import IMAGE_SIZE_KEY, check_settings
from resnet_jax.weights.stored import StoredWeights
from tests.tiny import tiny_config
from tests.weights.state_dicts import settings, state_dict, variables

OTHER_INPUT = {"input.mean": (0.0, 0.0, 0.0)}


def weights(settings):
    unused = {"arrays": {}, "origin": {}, "skipped": {}, "unknown": ()}
    return StoredWeights(path="w", format="f", settings=settings, **unused)


def problem(trained, here):
    """Returns the cure that is suggested for weights with the settings `trained`; None if nothing is to be changed."""
    try:
        check_settings(weights(trained), here)
    except UsageError as error:
        return str(error).rpartition(": set ")[2]
    return None


def test_the_image_size_is_suggested_with_other_settings_that_differ_and_never_alone():
    here = training_settings(tiny_config())
    other = training_settings(tiny_config({"data.image_size": 32}))
    mean = training_settings(tiny_config(OTHER_INPUT | {"data.image_size": 32}))
    assert problem(other, here) is None
    assert problem(mean, here) == "--config.input.mean='(0.0, 0.0, 0.0)' --config.data.image_size=32"
    assert problem(training_settings(tiny_config(OTHER_INPUT)), here) == "--config.input.mean='(0.0, 0.0, 0.0)'"
    without = network_settings(tiny_config(OTHER_INPUT))
    assert (
        problem(without, here)
        == problem(mean, network_settings(tiny_config()))
        == ("--config.input.mean='(0.0, 0.0, 0.0)'")
    )


def test_the_size_of_files_of_pytorch_is_that_of_timm_or_else_of_torchvision(tmp_path):
    small, whole = tmp_path / "small.safetensors", tmp_path / "whole.safetensors"
    save_file(state_dict(), small)
    save_file(state_dict({"model.features": 64}), whole)  # torchvision's resnet18
    assert IMAGE_SIZE_KEY not in read_weights(small).settings
    assert read_weights(whole).settings[IMAGE_SIZE_KEY] == 224
    for content in ({"input_size": [3, 288, 288]}, {"pretrained_cfg": {"input_size": [3, 288, 288]}}):
        (tmp_path / "config.json").write_text(json.dumps(content))
        assert read_weights(small).settings[IMAGE_SIZE_KEY] == read_weights(whole).settings[IMAGE_SIZE_KEY] == 288
    (tmp_path / "config.json").write_text(json.dumps({"input_size": "large"}))
    with pytest.raises(
        UsageError, match="config.json, beside the weights, is damaged: correct its mean, std and input_size"
    ):
        read_weights(small)


def test_an_exported_file_knows_its_size(tmp_path):
    file, stored = tmp_path / "out.safetensors", settings() | {IMAGE_SIZE_KEY: 64}
    write_safetensors(file, variables(), settings=stored, class_names="abcdefghij", metadata={})
    assert read_weights(file).settings[IMAGE_SIZE_KEY] == 64
