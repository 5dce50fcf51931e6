"""Files that are no weights: special files, other types of numbers, metadata of any kind."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from resnet_jax.errors import UsageError
from resnet_jax.weights import read_weights
from tests.kinds_of_files import KINDS
from tests.weights.state_dicts import state_dict


def saved(path, metadata=None, **changes):
    save_file(state_dict() | changes, path, metadata=metadata)
    return path


@pytest.mark.parametrize(("kind", "make"), [kind for kind in KINDS if kind[0] not in ("a file", "a directory")])
def test_a_device_or_a_pipe_is_one_line(tmp_path, kind, make):
    make(tmp_path / "x")
    with pytest.raises(UsageError, match="give (the path of a work directory|another path)") as caught:
        read_weights(tmp_path / "x")
    assert kind == "a link to nothing" or f" is {kind}, not a file: " in str(caught.value)


@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_a_config_of_timm_that_is_no_file(tmp_path, target):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "config.json").symlink_to(target)
    with pytest.raises(UsageError, match="config.json, beside the weights, is damaged"):
        read_weights(saved(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("dtype", ["complex64", "int8", "uint16", "int64", "bool"])
def test_numbers_that_are_not_floating_point(tmp_path, dtype):
    kernel = state_dict()["conv1.weight"].astype(dtype)
    with pytest.raises(UsageError, match=rf"holds {dtype} numbers \('conv1.weight'\), as quantized networks do: save"):
        read_weights(saved(tmp_path / "w.safetensors", **{"conv1.weight": kernel}))


def test_float16_and_counters_are_read(tmp_path):
    counter = {"bn1.num_batches_tracked": np.array(3, np.int64)}
    kernel = {"conv1.weight": state_dict()["conv1.weight"].astype(np.float16)}
    stored = read_weights(saved(tmp_path / "w.safetensors", **counter, **kernel))
    assert stored.arrays["params/stem_conv/kernel"].dtype == np.float32


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("resnet_jax.settings", "[" * 100_000),
        ("resnet_jax.class_names", '[[1], {"a": 2}, null]'),
        ("source_step", "1e400"),
        ("source_weights", "3"),
    ],
)
def test_metadata_of_any_kind(tmp_path, key, text):
    with pytest.raises(UsageError, match="w.safetensors is damaged"):
        read_weights(saved(tmp_path / "w.safetensors", {key: text}))


def test_a_number_of_5000_digits_in_a_name(tmp_path):
    names = {f"layer1.{'9' * 5000}.conv1.weight": np.zeros((4, 4, 3, 3), np.float32)}
    assert len(read_weights(saved(tmp_path / "w.safetensors", **names)).unknown) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"input_size": {"a": 1}},
        {"input_size": [3, 224, float("inf")]},
        {"input_size": [3, 224, -1]},
        {"mean": [0.5, 0.5]},
        {"mean": [float("nan")] * 3},
        {"std": [0.0, 0.2, 0.2]},
    ],
)
def test_values_of_timm_that_no_network_has(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="is damaged: correct its mean, std and input_size"):
        read_weights(saved(tmp_path / "w.safetensors"))


def test_a_config_of_timm_that_is_deeply_nested(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match="config.json, beside the weights, is damaged"):
        read_weights(saved(tmp_path / "w.safetensors"))
