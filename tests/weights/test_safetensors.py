"""`.safetensors`: reading, writing, damage."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from resnet_jax.data.class_names import fingerprint
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.weights import check_settings, match_variables, read_weights, write_safetensors
from tests.weights.state_dicts import settings, shapes, state_dict, variables

NAMES = [f"class {number}" for number in range(10)]
FAMILIES = {
    "resnet": {},
    "resnet-d": {"model.stem": "deep", "model.shortcut": "average_pool", "model.squeeze_excitation": 0.5},
    "cifar": {"model.name": "resnet_cifar", "model.depth": 8, "model.shortcut": "zero_pad"},
    "r1": {"model.padding": "tf", "model.shortcut": "stage_projection", "input.std": (1.0, 1.0, 1.0)},
}


def write(path, changes=None):
    write_safetensors(
        path, variables(changes), settings=settings(changes), class_names=NAMES, metadata={"made": "here"}
    )
    return path


@pytest.fixture
def file(tmp_path):
    save_file(state_dict(), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize("family", FAMILIES)
def test_writing_then_reading_gives_the_same_weights(family, tmp_path):
    changes = FAMILIES[family]
    stored = read_weights(write(tmp_path / "out.safetensors", changes))
    expected = by_path(variables(changes))
    assert stored.arrays.keys() == expected.keys() and not stored.unknown and not stored.skipped
    for name, array in stored.arrays.items():
        np.testing.assert_array_equal(array, expected[name])
    assert stored.settings == json.loads(json.dumps(settings(changes)))
    assert stored.class_names == tuple(NAMES) and stored.class_list == fingerprint(NAMES)
    check_settings(stored, settings(changes))
    with safe_open(tmp_path / "out.safetensors", framework="numpy") as opened:
        assert opened.metadata()["made"] == "here" and opened.metadata()["format"] == "pt"


def test_reading_then_writing_gives_the_same_bits(file, tmp_path):
    filled = match_variables(read_weights(file), shapes(), head=True, allow_missing=())
    write_safetensors(tmp_path / "b", filled.variables, settings=settings(), class_names=NAMES, metadata={})
    there = {name: array for name, array in load_file(file).items() if "num_batches" not in name}
    back = load_file(tmp_path / "b")
    assert back.keys() == there.keys()
    for name, array in there.items():
        assert back[name].tobytes() == array.tobytes() and back[name].shape == array.shape


def test_version_2_has_no_names(tmp_path):
    changes = {"model.version": "v2"}
    with pytest.raises(UsageError, match="the arrays of config.model.version=v2: export without 'safetensors'"):
        write(tmp_path / "out.safetensors", changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_read_as_float32(dtype, tmp_path):
    halves = {n: a.astype(dtype) if a.ndim else a for n, a in state_dict().items()}
    save_file(halves, tmp_path / "half.safetensors")
    array = read_weights(tmp_path / "half.safetensors").arrays["params/head/kernel"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, halves["fc.weight"].astype(np.float32).T)


@pytest.mark.parametrize("length", [0x80, 0x50])
def test_a_header_length_may_start_like_another_format(tmp_path, length):
    """A header length with the last byte 0x80 starts with the first byte of a pickle, 0x50 with that of a zip file."""
    file = tmp_path / "odd"
    for filling in range(300):
        save_file(state_dict(), file, metadata={"filling": "x" * filling})
        if file.read_bytes()[0] == length:
            break
    assert file.read_bytes()[0] == length
    assert len(read_weights(file).arrays) == 102


def test_attributes_of_a_file_of_torchvision(file):
    stored = read_weights(file)
    assert stored.path == str(file) and stored.format == "PyTorch (no network of torchvision or timm)"
    assert stored.origin["params/stage1_block2/conv1/kernel"] == "layer1.1.conv1.weight"
    assert set(stored.skipped.values()) == {"a counter"} and len(stored.skipped) == 20
    assert stored.class_names is None and stored.kind is None and stored.step is None
    check_settings(stored, settings())


@pytest.mark.parametrize("content", [{"mean": [0.5] * 3, "std": [0.5] * 3}, {"pretrained_cfg": {"mean": [0.5] * 3}}])
def test_the_normalisation_comes_from_the_config_of_timm(file, content):
    (file.parent / "config.json").write_text(json.dumps(content))
    assert read_weights(file).settings["input.mean"] == [127.5] * 3
    assert read_weights(file).settings["input.std"][0] == (127.5 if "std" in content else 58.395)


def test_prefixes_of_wrapped_modules_are_removed(file, tmp_path):
    save_file({f"module._orig_mod.{name}": a for name, a in load_file(file).items()}, tmp_path / "wrapped")
    stored = read_weights(tmp_path / "wrapped")
    assert len(stored.arrays) == 102 and "names after 'module._orig_mod.'" in stored.format
    assert stored.origin["params/head/bias"] == "module._orig_mod.fc.bias"


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_file_is_one_line(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UsageError, match=r"small.safetensors is damaged \(.*\): copy or download it again") as error:
        read_weights(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: give the path of a work directory"),
        (b"<!DOCTYPE html><html>", "is a web page, not weights"),
        (b"\n <html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b"any other bytes there may be", "is not a weights file of a known format"),
    ],
)
def test_other_files_are_described(tmp_path, content, message):
    (tmp_path / "resnet.pth").write_bytes(content)
    with pytest.raises(UsageError, match=rf"resnet.pth {message}") as error:
        read_weights(tmp_path / "resnet.pth")
    assert "\n" not in str(error.value)


def test_missing_files_are_an_error(tmp_path):
    with pytest.raises(UsageError, match="none does not exist: give the path of a work directory"):
        read_weights(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no checkpoint: give the path of a work directory"):
        read_weights(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"\n')
    with pytest.raises(UsageError, match="names the checkpoint 'model.ckpt-9', which does not exist"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layer1.0.conv2.weight": (4, 1, 3, 3)}, "convolutions of 4 groups, like a ResNeXt"),
        ({"layer1.0.conv1.weight": (8, 4, 3, 3), "layer1.0.conv2.weight": (8, 8, 3, 3)}, "8 channels instead of 4"),
        (
            {"layer1.2.conv1.weight": (4, 4, 3, 3)},
            "stages of 3, 2, 2, 2 basic blocks, which is not supported: use weights",
        ),
        ({"conv1.weight": (3, 3)}, "holds no ResNet"),
    ],
)
def test_other_networks_are_named(tmp_path, changed, message):
    tensors = state_dict() | {name: np.zeros(shape, np.float32) for name, shape in changed.items()}
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=message):
        read_weights(tmp_path / "other.safetensors")


def test_weights_are_not_assumed_to_be_an_average(file):
    with pytest.raises(UsageError, match="is not known to be a moving average"):
        read_weights(file, kind="ema")


def test_the_error_without_pytorch_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match="file of PyTorch, which is not installed: pip install torch, or convert"):
        read_weights(tmp_path / "weights.pth")


def test_the_error_without_tensorflow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    (tmp_path / "model.ckpt-7.index").touch()
    with pytest.raises(UsageError, match=r"not installed: pip install -e '.\[tensorflow\]'"):
        read_weights(tmp_path / "model.ckpt-7")
