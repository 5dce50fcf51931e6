"""The format 'hub': the folder that timm loads, its model card, and the upload."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import yaml

from resnet_jax.errors import UsageError
from resnet_jax.programs.export.export import check_request, export
from resnet_jax.programs.export.formats import FORMATS
from resnet_jax.programs.export.hub_folder import certificates_of
from resnet_jax.programs.export.model import Card, Model, Signatures
from resnet_jax.programs.export.model_card import make_card
from resnet_jax.programs.export.push import check_push
from resnet_jax.weights import load_weights, read_weights
from tests.models.networks import evaluation_logits, network
from tests.programs.evaluation import example
from tests.weights.hub_server import TOKEN, running_hub
from tests.weights.untrained_weights import untrained

NAMES = tuple(f"kind {number}" for number in range(10))
RESNET = {"data.image_size": 64, "model.name": "resnet", "model.depth": 18, "model.features": 64}
NETWORKS = {
    "resnet18": RESNET | {"input.mean": (100.0, 110.0, 120.0), "data.resize": "bicubic_antialias"},
    "resnet50d": RESNET | {"model.depth": 50, "model.stem": "deep", "model.shortcut": "average_pool"},
    "seresnet50": RESNET | {"model.depth": 50, "model.squeeze_excitation": 1 / 16},
}
CARD = Card(title="flowers", license="cc-by-4.0")


def made(changes=None, card=CARD, **options):
    """A model to export, with random weights; nothing is compiled."""
    inference, selected = untrained(changes or RESNET, devices=jax.devices()[:1], **options)
    return Model(
        step=inference.predict_step,
        preprocess=inference.preprocess,
        network_step=inference.network_step,
        variables=selected.variables,
        network=inference.network,
        preprocessing=inference.preprocessing,
        class_names=NAMES,
        signatures=Signatures(),
        card=card,
        source={"path": "weights", "step": 1234, "weights": "ema", "sha256": selected.sha256},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model, path = made(NETWORKS["resnet18"]), tmp_path_factory.mktemp("export") / "hub"
    FORMATS["hub"].check(model)
    FORMATS["hub"].write(path, model)
    return path, model


def test_the_files_of_the_folder(folder):
    path, model = folder
    assert {file.name for file in path.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    config = json.loads((path / "config.json").read_text())
    assert config["architecture"] == "resnet18" and config["label_names"] == list(NAMES)
    described = config["pretrained_cfg"]
    np.testing.assert_allclose(np.multiply(described["mean"], 255), (100.0, 110.0, 120.0), rtol=1e-9)
    assert (described["input_size"], described["interpolation"]) == ([3, 64, 64], "bicubic")
    assert described["crop_pct"] == model.preprocessing.fraction


def test_this_program_reads_the_folder_back(folder):
    path, model = folder
    stored = read_weights(path)
    assert stored.class_names == NAMES and stored.settings["data.image_size"] == 64
    variables = load_weights(path, network(depth=18, num_classes=10), any_input=True)
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], model.variables["params"]["head"]["kernel"])


def metadata_of(card):
    header, text = card.removeprefix("---\n").split("---\n", 1)
    return yaml.safe_load(header), text


def test_a_card_says_when_nothing_is_known(folder):
    path, _ = folder
    metadata, text = metadata_of((path / "README.md").read_text())
    assert metadata["license"] == "cc-by-4.0" and metadata["library_name"] == "timm" and "model-index" not in metadata
    assert "Not measured: no evaluation" in text and "Unknown: the weights were not trained" in text
    assert 'timm.create_model("local-dir:FOLDER", pretrained=True)' in text and "torchvision.models.resnet18" in text
    assert "after 1,234 steps" in text and "moving average" in text and "any_input=True" in text


def test_a_card_quotes_the_certificates_and_the_settings():
    certificate = example.results().certificate
    known = {"training": {"optimizer.name": "sgd"}, "data": {"train": {"name": "digits", "examples": 1438}}}
    card = CARD._replace(push_to="me/flowers", certificates=(certificate,), **known)
    metadata, text = metadata_of(make_card(made(NETWORKS["resnet50d"], card), "resnet50d", "mit"))
    (result,) = metadata["model-index"][0]["results"]
    assert result["dataset"]["name"] == "digits:1.0.0/test[:50%]"
    assert result["metrics"] == [{"type": "accuracy", "name": "Top-1 accuracy", "value": 50.0}]
    low, high = certificate["interval"]["top1"]
    assert f"| 6 | 16 px | top-1 50.00 % ({100 * low:.2f} to {100 * high:.2f}) |" in text
    assert "--config.optimizer.name='sgd'" in text and "Data, train: digits, 1,438 images." in text
    assert 'timm.create_model("hf-hub:me/flowers"' in text and 'rj.load_weights("hf://me/flowers", model)' in text
    assert "create_model(depth=50, num_classes=10, stem='deep', shortcut='average_pool')" in text
    assert "torchvision.models" not in text  # torchvision has no ResNet-D


def test_the_certificates_of_these_weights_only(tmp_path):
    for number, digest in enumerate(("a", "b", "a")):
        (tmp_path / str(number)).mkdir()
        content = {"weights": {"sha256": digest}, "number": number}
        (tmp_path / str(number) / "certificate.json").write_text(json.dumps(content))
        os.utime(tmp_path / str(number) / "certificate.json", (100 - number, 100 - number))
    assert [content["number"] for content in certificates_of(tmp_path, "a")] == [2, 0]
    assert certificates_of(tmp_path / "absent", "a") == ()
    (tmp_path / "1" / "certificate.json").write_text("[")
    with pytest.raises(
        UsageError, match=r"1/certificate.json cannot be read .*: move its directory away, because the model card"
    ):
        certificates_of(tmp_path, "a")


@pytest.mark.parametrize(
    ("formats", "card", "message"),
    [
        (("hub",), Card(), "needs the license under which you publish the weights: set config.export.license"),
        (("hub",), Card(license="MIT License"), "license='MIT License' is not the name of a license on the Hub"),
        (("jax",), Card(license="mit"), "config.export.license=mit has no effect: set config.export.formats"),
        (("jax",), Card(push_to="a/b"), "config.export.push_to=a/b has no effect: set config.export.formats"),
    ],
)
def test_contradictions_are_errors(tmp_path, formats, card, message):
    with pytest.raises(UsageError, match=message):
        check_request(tmp_path / "export", formats, card=card)


@pytest.mark.parametrize(
    "changes", [{"model.padding": "tf"}, {"model.version": "v2"}, {"model.features": 16}, {"input.per_image": True}]
)
def test_networks_that_timm_does_not_have_are_errors(changes):
    model = made()
    with pytest.raises(UsageError, match="timm does not have this network, so it could not load the format 'hub'"):
        FORMATS["hub"].check(dataclasses.replace(model, network=model.network | changes))


def test_what_hinders_an_upload_is_found_before_the_export(monkeypatch):
    with pytest.raises(UsageError, match="config.export.push_to='flowers' is not org/name"):
        check_push("flowers")
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(UsageError, match="huggingface_hub, which is not installed"):
        check_push("me/flowers")


def with_moderate_logits(selected):
    """The weights with small scales at the ends of branches and in the last layer: logits as of trained networks."""

    def scale(path, leaf):
        block, module, *_ = [key.key for key in path[1:]]
        ends = module in ("bn2", "bn3") and path[-1].key == "scale"
        return np.float32(0.3) * leaf if ends or block == "head" else leaf

    variables = jax.tree_util.tree_map_with_path(scale, selected.variables)
    return dataclasses.replace(selected, variables=variables)


def run(*command, environment):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_timm_computes_the_same_logits(tmp_path, name):
    pytest.importorskip("torch")
    inference, selected = untrained(NETWORKS[name], devices=jax.devices()[:1])
    selected = with_moderate_logits(selected)
    assert export(inference, selected, NAMES, tmp_path / "export", ("hub",), card=CARD) == 0
    images = np.random.default_rng(0).normal(size=(8, 64, 64, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    program, model = "tests.programs.export.timm_check", f"local-dir:{tmp_path}/export/hub"
    printed = run(program, model, tmp_path / "images.npy", tmp_path / "logits.npy", environment=os.environ)
    found = json.loads(printed.splitlines()[-1])
    assert found["class"] == "ResNet" and found["label_names"] == list(NAMES)
    assert found["data"]["input_size"] == [3, 64, 64]
    np.testing.assert_allclose(np.multiply(found["data"]["mean"], 255), inference.network["input.mean"], rtol=1e-6)
    options = {key.removeprefix("model."): value for key, value in inference.network.items() if "model." in key}
    ours = evaluation_logits(network(**options | {"num_classes": 10}), selected.variables, images)
    theirs = np.load(tmp_path / "logits.npy")
    assert ours.std() > 0.1 and abs(ours).max() < 50
    print(f"{name}: {abs(theirs - ours).max():.1e} of {abs(ours).max():.1f}")
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(theirs.argmax(1), ours.argmax(1))


UPLOAD = """
import pathlib, sys
from resnet_jax.programs.export.push import check_push, push
check_push("me/flowers")
push(pathlib.Path(sys.argv[1]), "me/flowers")
"""


@pytest.mark.slow
def test_an_upload_with_the_real_client_and_what_it_gives_back(tmp_path, folder):
    pytest.importorskip("huggingface_hub")
    pytest.importorskip("torch")
    path, _ = folder

    def upload(**changes):
        command = [sys.executable, "-c", UPLOAD, str(path)]
        environment = hub.environment(tmp_path, **changes)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    with running_hub() as hub:
        assert "needs a token of the Hugging Face Hub: run hf auth login" in upload().stderr
        refused = upload(HF_TOKEN="hf_of_nobody").stderr
        assert "hub is written, but was not uploaded to me/flowers (" in refused and "hf upload me/flowers" in refused
        assert hub.repositories == {}
        for commits in (1, 2):
            done = upload(HF_TOKEN=TOKEN)
            assert done.returncode == 0, done.stderr
            assert len(hub.repositories["me/flowers"]) == commits
        files = list(hub.repositories["me/flowers"].values())[-1]
        written = {file.name: file.read_bytes() for file in path.iterdir()}
        assert {name: content for name, content in files.items() if name != ".gitattributes"} == written
        images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
        np.save(tmp_path / "images.npy", images)
        program = "tests.programs.export.timm_check"
        arguments = ("hf-hub:me/flowers", tmp_path / "images.npy", tmp_path / "logits.npy")
        run(program, *arguments, environment=hub.environment(tmp_path / "theirs"))
        printed = run(
            "tests.weights.download_process", "hf://me/flowers", environment=hub.environment(tmp_path / "ours")
        )
    (found,) = json.loads(printed.splitlines()[-1])
    variables = load_weights(found["path"], network(depth=18, num_classes=10), any_input=True)
    ours = evaluation_logits(network(depth=18, num_classes=10), variables, images)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), ours, rtol=1e-4, atol=1e-4)
