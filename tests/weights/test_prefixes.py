"""Weights behind a prefix, in archives, and beside the weights of other networks."""

import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from resnet_jax.errors import UsageError
from resnet_jax.weights import match_variables, read_weights
from tests.weights.state_dicts import shapes, state_dict

EXTRA = np.zeros((3, 3), np.float32)


def saved(path, tensors):
    save_file(tensors, path)
    return path


def behind(prefix, tensors=None):
    return {prefix + name: array for name, array in (tensors or state_dict()).items()}


@pytest.mark.parametrize(
    "prefix",
    ["model.", "backbone.", "net.", "module.encoder_q.", "a.b.c.", "layers.", "resnet50.", "_orig_mod.module."],
)
@pytest.mark.parametrize("extra", [{}, {"criterion.weight": EXTRA}, {"head.fc.weight": EXTRA}, {"n_averaged": EXTRA}])
def test_a_prefix_of_the_network_is_taken_off(tmp_path, prefix, extra):
    stored = read_weights(saved(tmp_path / "w.safetensors", behind(prefix) | extra))
    plain = read_weights(saved(tmp_path / "plain.safetensors", state_dict()))
    assert stored.arrays.keys() == plain.arrays.keys() and stored.unknown == ()
    assert f"names after {prefix!r}" in stored.format and set(extra) <= set(stored.skipped)
    match_variables(stored, shapes(), head=True, allow_missing=())


def test_an_unknown_name_behind_the_prefix_is_still_refused(tmp_path):
    tensors = behind("model.", state_dict() | {"attention.weight": EXTRA})
    stored = read_weights(saved(tmp_path / "w.safetensors", tensors))
    with pytest.raises(UsageError, match=r"model.attention.weight, not in the network"):
        match_variables(stored, shapes(), head=True, allow_missing=())


def test_the_query_encoder_of_moco_with_a_projection_head(tmp_path):
    body = {name: array for name, array in state_dict().items() if not name.startswith("fc.")}
    body |= {"fc.0.weight": EXTRA, "fc.2.bias": EXTRA}
    both = behind("module.encoder_q.", body) | behind("module.encoder_k.", body) | {"module.queue": EXTRA}
    stored = read_weights(saved(tmp_path / "w.safetensors", both))
    assert "names after 'module.encoder_q.'" in stored.format
    report = match_variables(stored, shapes(), head=False, allow_missing=()).report
    assert any("fc.0.weight" in line and "the last layer is a new one" in line for line in report)
    with pytest.raises(UsageError, match="another network"):
        match_variables(stored, shapes(), head=True, allow_missing=())


@pytest.mark.parametrize("prefixes", [("student.", "teacher."), ("", "ema."), ("model.", "ema_model.module.")])
def test_several_networks_are_refused_by_name(tmp_path, prefixes):
    both = {name: array for prefix in prefixes for name, array in behind(prefix).items()}
    with pytest.raises(UsageError, match="holds several networks, whose names begin with ") as found:
        read_weights(saved(tmp_path / "w.safetensors", both))
    assert all(repr(prefix) in str(found.value) for prefix in prefixes)


def test_names_of_another_library_are_listed(tmp_path):
    with pytest.raises(UsageError, match=r"no array with a name of a ResNet .* but 'embedder.convolution.weight'"):
        read_weights(saved(tmp_path / "w.safetensors", {"embedder.convolution.weight": EXTRA}))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["resnet50.pth", "README"], "a zip archive that PyTorch has not written .it contains resnet50.pth, README"),
        (["conv1.npy", "fc.npy"], "a file of numpy.savez that PyTorch has not written"),
        (["a\x1b[2J.txt"], r"it contains a\\x1b\[2J.txt"),
        ([], "a zip archive that PyTorch has not written .it is empty"),
    ],
)
def test_a_zip_that_pytorch_has_not_written(tmp_path, names, words):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    with pytest.raises(UsageError, match=words):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "start", [b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\0" * 257 + b"ustar"]
)
def test_compressed_files_and_archives(tmp_path, start):
    (tmp_path / "w.tar.gz").write_bytes(start + b"\0" * 600)
    with pytest.raises(UsageError, match="an archive or a compressed file, not weights .unpack it"):
        read_weights(tmp_path / "w.tar.gz")
