"""Networks of PyTorch: the same logits after import, the same weights after export; files of `torch.save`."""

import argparse
import os
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file

from resnet_jax.errors import UsageError
from resnet_jax.weights import match_variables, read_weights, write_safetensors
from tests.models.networks import evaluation_logits, network, shapes_of_variables
from tests.weights.state_dicts import state_dict

pytestmark = pytest.mark.slow

NETWORKS = (18, 50, 101, "timm")


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def torch_network(torch, which):
    """Returns a network with random weights and statistics; small scales in branches keep the logits moderate."""
    from benchmarks.torch_resnet import ResNet
    from tests.weights.timm_resnet import TimmResNet

    torch.manual_seed(0)
    network = TimmResNet(10) if which == "timm" else ResNet(which, 10)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0.0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            if name.endswith("bn2" if which == 18 else "bn3"):
                module.weight.data *= 0.3
    return network.eval()


@pytest.mark.parametrize("which", NETWORKS)
def test_logits_after_import_and_weights_after_export(torch, tmp_path, which):
    theirs = torch_network(torch, which)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    stored = read_weights(tmp_path / "weights.pth")
    options = {key.removeprefix("model."): value for key, value in stored.settings.items() if "model." in key}
    model = network(**options | {"num_classes": 10})
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    shapes = shapes_of_variables(model, images.shape[1])
    variables = match_variables(stored, shapes, head=True, allow_missing=()).variables
    ours = evaluation_logits(model, variables, images)
    with torch.no_grad():
        expected = theirs(torch.tensor(images.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.std(expected) > 0.1 and abs(expected).max() < 50
    print(f"{which}: {abs(ours - expected).max():.1e} of {abs(expected).max():.1f}")
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)

    file = tmp_path / "weights.safetensors"
    write_safetensors(file, variables, settings=stored.settings, class_names=(), metadata={})
    back = load_file(file)
    there = {n: t.numpy() for n, t in theirs.state_dict().items() if "num_batches_tracked" not in n}
    assert back.keys() == there.keys()
    for name, array in there.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes(), name
    theirs.load_state_dict({name: torch.tensor(array) for name, array in back.items()})  # strict: every name must match


@pytest.fixture
def small(torch):
    return {name: torch.tensor(array) for name, array in state_dict().items()}


def averages(small):
    return {"n_averaged": small["bn1.num_batches_tracked"]} | {f"module.{n}": 2 * t for n, t in small.items()}


@pytest.mark.parametrize(
    ("wrap", "kind", "expected"),
    [
        (lambda small: small, None, (1, None)),
        (lambda small: {f"module._orig_mod.{n}": t for n, t in small.items()}, None, (1, None)),
        (lambda small: {"state_dict": small, "epoch": 3}, None, (1, "trained")),
        (lambda small: {"model": small, "model_ema": averages(small), "optimizer": {}}, None, (2, "ema")),
        (lambda small: {"model": small, "model_ema": {}, "args": argparse.Namespace(lr=0.1)}, None, (1, "trained")),
        (lambda small: {"model": small, "model_ema": averages(small)}, "trained", (1, "trained")),
        (lambda small: {"state_dict": small, "state_dict_ema": averages(small)}, "ema", (2, "ema")),
        (lambda small: {n: t.bfloat16() if t.ndim else t for n, t in small.items()}, None, (1, None)),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_programs_save(torch, tmp_path, small, wrap, kind, expected, zipped):
    torch.save(wrap(small), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    stored = read_weights(tmp_path / "w.pth", kind=kind)
    factor, found_kind = expected
    assert stored.kind == found_kind and stored.unknown == () and len(stored.arrays) == 102
    bias = stored.arrays["params/head/bias"]
    np.testing.assert_allclose(bias, factor * small["fc.bias"].numpy(), rtol=2**-8)
    assert bias.dtype == np.float32


@pytest.mark.parametrize(
    ("place", "cause"),
    [
        (lambda content: len(content) // 2, r"w/data/\d+ does not match its checksum"),
        (lambda content: content.index(b"ccollections"), "w/data.pkl does not match its checksum"),
        (lambda content: content.index(b"PK\x01\x02"), "Bad magic number for central directory"),
    ],
    ids=["a tensor", "the names", "the list of parts"],
)
def test_a_damaged_byte_is_found(torch, tmp_path, small, place, cause):
    torch.save(small, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    content[place(content)] ^= 1
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UsageError, match=rf"w.pth is damaged \({cause}"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "spoil", [lambda t: t.to_sparse(), lambda t: t.to("meta"), lambda t: t + 1j], ids=["sparse", "meta", "complex"]
)
def test_tensors_that_are_not_dense_and_real(torch, tmp_path, small, spoil):
    torch.save(small | {"fc.weight": spoil(small["fc.weight"])}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="holds fc.weight, which is not a dense tensor of real numbers"):
        read_weights(tmp_path / "w.pth")


class Code:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(torch, tmp_path, small, kind):
    content = {"state_dict": small, "more": Code(tmp_path / "run")}
    if kind == "pickle":
        (tmp_path / "w.pth").write_bytes(pickle.dumps({"more": Code(tmp_path / "run")}))
    else:
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(UsageError, match=r"w.pth (holds more than weights|is damaged).*") as error:
        read_weights(tmp_path / "w.pth")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
    assert kind == "pickle" or "which may be code, or is damaged; no code was run" in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_one_line(torch, tmp_path, small, zipped, share):
    torch.save(small, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UsageError, match=r"w.pth (is damaged \(|holds more .*, or is damaged).*") as error:
        read_weights(tmp_path / "w.pth")
    assert "\n" not in str(error.value)


def test_content_that_is_not_a_state_dict_is_an_error(torch, tmp_path):
    torch.save([1], tmp_path / "w.pth")
    with pytest.raises(UsageError, match="w.pth holds a list instead of named weights: save a state_dict"):
        read_weights(tmp_path / "w.pth")


def test_a_missing_average_is_an_error(torch, tmp_path, small):
    torch.save({"state_dict": small}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="w.pth is not known to hold a moving average"):
        read_weights(tmp_path / "w.pth", kind="ema")
