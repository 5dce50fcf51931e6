import dataclasses
import importlib.util
import json
import os

import jax
import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.files import own_directory
from resnet_jax.programs.export import formats
from resnet_jax.programs.export.export import METADATA, check_request, export
from tests.weights.untrained_weights import untrained

NAMES = tuple("abcdefghij")


def made(directory, which=("jax",), changes=None, **options):
    return export(*untrained(changes, devices=jax.devices()[:1], **options), NAMES, directory, which)


def test_the_content_of_the_directory(tmp_path):
    directory = tmp_path / "in" / "export"
    assert made(directory, ("jax", "safetensors")) == 0
    assert {path.name for path in directory.iterdir()} == {"model.jax", "model.safetensors", METADATA}
    described = json.loads((directory / METADATA).read_text())
    assert described["class_names"] == list(NAMES)
    assert described["source"] == {"path": "weights", "step": 4, "weights": "trained", "sha256": untrained()[1].sha256}
    assert described["preprocessing"]["before"]["image_size"] == described["input"]["shape"][1] == 12
    for name in ("jax", "safetensors"):
        for compared in described["formats"][name]["compared"].values():
            assert compared["images"] == 32 and compared["largest_difference"] <= 1e-5
    assert [path.name for path in directory.parent.iterdir()] == ["export"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_activation_dtypes(tmp_path, dtype):
    assert made(tmp_path / "export", dtype=dtype) == 0
    assert json.loads((tmp_path / "export" / METADATA).read_text())["dtype"] == dtype


def wrong(path, model, sample):
    outputs = {name: value.copy() for name, value in sample.outputs.items()}
    outputs["probabilities"][3, 1] += 2e-4
    return {"images": outputs}


def failing(path, model, sample):
    raise KeyboardInterrupt("interrupted")


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (wrong, UsageError, "the export .jax, images. does not compute what this program computes"),
        (failing, KeyboardInterrupt, "^interrupted$"),
    ],
)
def test_an_export_that_differs_or_fails_leaves_nothing(tmp_path, monkeypatch, run, error, message):
    spoiled = dataclasses.replace(formats.FORMATS["jax"], run=run)
    monkeypatch.setitem(formats.FORMATS, "jax", spoiled)
    with pytest.raises(error, match=message):
        made(tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_changed_weights_leave_nothing(tmp_path, monkeypatch):
    real = formats.read_weights

    def flipped(path):
        stored = real(path)
        stored.arrays["params/stem_conv/kernel"][0, 0, 0, 0] = np.nextafter(
            stored.arrays["params/stem_conv/kernel"][0, 0, 0, 0], np.float32(9)
        )
        return stored

    monkeypatch.setattr(formats, "read_weights", flipped)
    with pytest.raises(UsageError, match=r"does not contain the weights: params/stem_conv/kernel differs"):
        made(tmp_path / "export", ("safetensors",))
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_names_in_torchvision_is_an_error_and_leaves_nothing(tmp_path):
    changes = {"model.version": "v2", "model.zero_init_last_bn": False}
    with pytest.raises(UsageError, match="v2"):
        made(tmp_path / "export", ("jax", "safetensors"), changes)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_directory_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/export cannot be written \(.*\): make room, or set config.export.dir"):
        made(tmp_path / "file" / "export")


def test_other_users_may_read_the_files(tmp_path):
    made(tmp_path / "export", ("jax", "safetensors"))
    mask = os.umask(0)
    os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "export").iterdir()} == {0o666 & ~mask}


def test_unsupported_formats_are_reported_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "jit", lambda *args, **options: pytest.fail("compiles"))
    with pytest.raises(UsageError, match="torchvision has no names for the arrays of config.model.version=v2"):
        made(tmp_path / "export", ("jax", "safetensors"), {"model.version": "v2", "model.zero_init_last_bn": False})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="TensorFlow, which is not installed"):
        made(tmp_path / "export", ("jax", "saved_model"))


def test_invalid_formats_and_existing_directories_are_errors(tmp_path):
    for which in ((), ("tflite",), ("jax", "tflite")):
        with pytest.raises(
            UsageError, match=r"config.export.formats .* must name some of jax, saved_model, safetensors"
        ):
            check_request(tmp_path / "new", which)
    with pytest.raises(UsageError, match="already exists: set config.export.dir to another directory, or remove"):
        check_request(tmp_path, ("jax",))


def test_the_remains_of_a_killed_export_are_removed(tmp_path):
    (tmp_path / "export.part" / "saved_model").mkdir(parents=True)
    (tmp_path / "export.part" / "model.json").touch()
    assert made(tmp_path / "export") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert {path.name for path in (tmp_path / "export").iterdir()} == {"model.jax", METADATA}


def test_a_second_export_to_the_same_directory_is_refused_before_it_computes(tmp_path, monkeypatch):
    directory = tmp_path / "export"
    with own_directory(tmp_path / "export.part", what="it", cure="wait") as _:
        monkeypatch.setattr(jax, "jit", lambda *args, **options: pytest.fail("compiles"))
        with pytest.raises(UsageError, match=rf"another process is at work in the export {directory}: wait for it, or"):
            made(directory)
        assert (tmp_path / "export.part").is_dir()
        (tmp_path / "export.part").rename(directory)
    with pytest.raises(UsageError, match="already exists"):
        made(directory)
