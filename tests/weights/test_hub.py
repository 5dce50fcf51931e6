"""Weights of the Hugging Face Hub: addresses, the cache, checksums; with the real client against a stand-in."""

import hashlib
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from resnet_jax.config_keys import check_paths
from resnet_jax.configs.default import KEYS, get_config
from resnet_jax.errors import UsageError
from resnet_jax.nested import flatten
from resnet_jax.weights import hub, read_weights
from resnet_jax.weights.warm_start import warm_start_optimizer
from tests.weights.hub_server import etag, running_hub
from tests.weights.state_dicts import state_dict

MEAN = {"mean": [0.5, 0.25, 0.125], "input_size": [3, 96, 96]}
CONFIG = json.dumps({"architecture": "resnet18", "pretrained_cfg": MEAN}).encode()


@pytest.fixture(scope="module")
def weights():
    return save(state_dict())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://timm/resnet18.a1_in1k", ("timm/resnet18.a1_in1k", None)),
        ("hf://o/n@main", ("o/n", "main")),
        ("hf://o/n@refs/pr/1", ("o/n", "refs/pr/1")),
    ],
)
def test_addresses(address, expected):
    assert hub._parse(address) == expected and hub.repository(address) == expected[0]


@pytest.mark.parametrize("address", ["hf://o", "hf://o/n/x", "hf://o/n@", "hf://", "hf://o/n@a b", "hf://o/../n"])
def test_other_addresses_are_errors(address):
    with pytest.raises(UsageError, match="is not hf://org/name or hf://org/name@revision: correct the address"):
        read_weights(address)


def test_the_keys_of_weights_accept_addresses_of_the_hub_and_no_others_do():
    for key in ("model.init_from", "eval.checkpoint"):
        check_paths(KEYS, flatten(get_config().to_dict()) | {key: "hf://o/n"})
        with pytest.raises(UsageError, match=f"config.{key}=ftp://b/n is not a local path"):
            check_paths(KEYS, flatten(get_config().to_dict()) | {key: "ftp://b/n"})
    for key in ("data.data_dir", "export.dir"):
        with pytest.raises(UsageError, match=f"config.{key}=hf://o/n is not a local path"):
            check_paths(KEYS, flatten(get_config().to_dict()) | {key: "hf://o/n"})


def test_without_the_package(monkeypatch):
    for name in ("huggingface_hub", "huggingface_hub.errors"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"huggingface_hub, which is not installed: pip install -e '.\[hub\]'"):
        read_weights("hf://o/n")


def test_a_repository_has_no_optimizer_state():
    with pytest.raises(UsageError, match="hf://o/n is not a run or a checkpoint of this program, and has no optimizer"):
        warm_start_optimizer("hf://o/n", (), name="sgd")


def cached(directory, files):
    """Lays files out as the cache of `huggingface_hub` does; returns the snapshot."""
    snapshot = directory / "snapshots" / "c0ffee"
    for folder in (snapshot, directory / "blobs"):
        folder.mkdir(parents=True)
    for name, content in files.items():
        (directory / "blobs" / etag(name, content)).write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs") / etag(name, content))
    return snapshot


def client(snapshot):
    """A client that has downloaded a snapshot."""

    class AbsentError(Exception):
        pass

    def hf_hub_download(repo, name, *, revision):
        if not (snapshot / name).exists():
            raise AbsentError
        return str(snapshot / name)

    class OfflineError(Exception):
        pass

    errors = types.SimpleNamespace(LocalEntryNotFoundError=OfflineError, RemoteEntryNotFoundError=AbsentError)
    return types.SimpleNamespace(hf_hub_download=hf_hub_download, errors=errors, constants=types.SimpleNamespace())


def install(monkeypatch, client):
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    for name in ("errors", "constants"):
        monkeypatch.setitem(sys.modules, f"huggingface_hub.{name}", getattr(client, name))


def test_the_config_beside_the_link_in_the_cache_is_read(tmp_path, weights, monkeypatch):
    snapshot = cached(tmp_path, {"model.safetensors": weights, "config.json": CONFIG})
    install(monkeypatch, client(snapshot))
    for path in ("hf://o/n", snapshot / "model.safetensors", snapshot):
        stored = read_weights(path)
        assert stored.settings["input.mean"] == [127.5, 63.75, 31.875] and stored.settings["data.image_size"] == 96
        assert stored.path == str(snapshot / "model.safetensors")
        np.testing.assert_array_equal(stored.arrays["params/head/bias"], state_dict()["fc.bias"])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_changed_byte_in_the_cache_is_found(tmp_path, weights, monkeypatch, name):
    snapshot = cached(tmp_path, {"model.safetensors": weights, "config.json": CONFIG})
    content = bytearray((snapshot / name).read_bytes())
    content[-1] ^= 1
    (snapshot / name).write_bytes(content)
    install(monkeypatch, client(snapshot))
    with pytest.raises(UsageError, match=r"blobs/\w+ is damaged, it does not have the checksum of the Hub: delete it"):
        read_weights("hf://o/n")


def test_a_repository_without_weights(tmp_path, monkeypatch):
    install(monkeypatch, client(cached(tmp_path, {"config.json": CONFIG})))
    with pytest.raises(UsageError, match=r"hf://o/n has neither model.safetensors nor pytorch_model.bin: name a"):
        read_weights("hf://o/n")


@pytest.mark.parametrize("outer", [True, False])
def test_class_names_of_the_config(tmp_path, weights, outer):
    names = [f"kind {number}" for number in range(10)]
    (tmp_path / "model.safetensors").write_bytes(weights)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"label_names": names} if outer else {"pretrained_cfg": {"label_names": names}}))
    assert read_weights(tmp_path).class_names == tuple(names)
    for others in (names[:9], {"0": "a"}, None):  # not one for each output; with numbers, which timm allows
        path.write_text(json.dumps({"label_names": others}))
        assert read_weights(tmp_path).class_names is None


def downloaded(hub, home, *addresses, **changes):
    pytest.importorskip("huggingface_hub")
    command = [sys.executable, "-m", "tests.weights.download_process", *addresses]
    done = subprocess.run(command, env=hub.environment(home, **changes), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_real_client_downloads_once_and_works_offline(tmp_path, weights):
    with running_hub() as stand_in:
        first = stand_in.add("o/n", {"model.safetensors": weights, "config.json": CONFIG})
        second = stand_in.add("o/n", {"model.safetensors": weights + b" ", "config.json": CONFIG})
        stand_in.add("o/old", {"pytorch_model.bin": b"zip"})
        addresses = [f"hf://o/n@{first}", "hf://o/n", f"hf://o/n@{second}", "hf://o/old"]
        found = downloaded(stand_in, tmp_path, *addresses, "hf://o/n@nothing", "hf://o/absent")
        paths = [one["path"] for one in found[:4]]
        assert [Path(path).parent.name for path in paths[:3]] == [first, second, second]
        assert Path(paths[0]).read_bytes() == weights and Path(paths[0]).with_name("config.json").read_bytes() == CONFIG
        assert Path(paths[3]).name == "pytorch_model.bin"
        assert "hf://o/n@nothing has no revision 'nothing'" in found[4]["error"]
        assert "hf://o/absent does not exist, or is private: correct the name" in found[5]["error"]
        assert hashlib.sha256(weights).hexdigest() == Path(paths[0]).resolve().name
        gets = [request for request in stand_in.requests if request.startswith("GET") and "safetensors" in request]
        assert len(gets) == 2
        stand_in.requests.clear()
        offline = downloaded(stand_in, tmp_path, *addresses, "hf://o/absent", HF_HUB_OFFLINE="1")
        assert [one["path"] for one in offline[:4]] == paths and stand_in.requests == []
        assert "config.json is not in the cache, and the Hub cannot be reached" in offline[4]["error"]
    without_network = downloaded(stand_in, tmp_path, "hf://o/n", f"hf://o/n@{first}")
    assert [one["path"] for one in without_network] == [paths[1], paths[0]]
