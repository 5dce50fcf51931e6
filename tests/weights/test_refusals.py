"""Files with defects: an error message of one line each."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from resnet_jax.errors import UsageError
from resnet_jax.weights import match_variables, read_weights
from tests.weights.state_dicts import shapes, state_dict


def saved(path, metadata=None, **changes):
    save_file(state_dict() | changes, path, metadata=metadata)
    return path


def test_values_that_are_not_finite(tmp_path):
    kernel = state_dict()["conv1.weight"].copy()
    kernel[0, 0, 0, 0] = np.nan
    stored = read_weights(saved(tmp_path / "w.safetensors", **{"conv1.weight": kernel}))
    with pytest.raises(UsageError, match=r"not finite, in params/stem_conv/kernel: take an earlier checkpoint"):
        match_variables(stored, shapes(), head=True, allow_missing=())


@pytest.mark.parametrize("content", ["[1, 2]", "null", "{"])
def test_metadata_of_another_program(tmp_path, content):
    path = saved(tmp_path / "w.safetensors", {"resnet_jax.settings": content})
    with pytest.raises(UsageError, match="w.safetensors is damaged"):
        read_weights(path)


@pytest.mark.parametrize("mean", [3, [None, 1, 2], "0.5"])
def test_a_config_of_timm_with_a_damaged_mean(tmp_path, mean):
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": mean}}))
    with pytest.raises(UsageError, match="config.json, beside the weights, is damaged: correct its mean, std"):
        read_weights(saved(tmp_path / "w.safetensors"))


def test_a_config_of_timm_without_a_mean(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": None}}))
    assert read_weights(saved(tmp_path / "w.safetensors")).settings["input.mean"][0] == pytest.approx(123.675)


@pytest.mark.parametrize("architecture", ["resnetblur50", "resnetaa50d", "seresnetaa50d"])
def test_blurred_pooling_in_the_config_of_timm_is_refused(tmp_path, architecture):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture}))
    with pytest.raises(UsageError, match=f"is {architecture}, whose blurred pooling is not supported"):
        read_weights(saved(tmp_path / "w.safetensors"))


def test_a_huge_number_in_a_name_is_refused_at_once(tmp_path):
    names = {"layer999999999.0.conv1.weight": np.zeros((4, 4, 3, 3), np.float32)}
    with pytest.raises(UsageError, match="holds no ResNet"):
        read_weights(saved(tmp_path / "w.safetensors", **names))


def test_a_loop_of_symbolic_links(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UsageError, match="cannot be read|does not exist"):
        read_weights(tmp_path / "a")


def test_a_pattern_that_is_not_text():
    with pytest.raises(UsageError, match="has an entry that is not a regular expression"):
        from resnet_jax.weights.match import _compile

        _compile((3,))


def test_a_missing_index_of_tensorflow(tmp_path):
    with pytest.raises(UsageError, match="model.ckpt-4.index does not exist"):
        read_weights(tmp_path / "model.ckpt-4.index")
