"""The settings of r1 in the two recipes that reproduce it; rates, updates and networks have their own golden tests."""

import importlib
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.crops import BoxGuided, PadAndCrop, ResizeThenCentral
from resnet_jax.data.on_device import standardize_per_image
from resnet_jax.data.sources import cifar_binary, open_source
from resnet_jax.errors import UsageError
from resnet_jax.experiment.milestones import make_milestones, schedule_options
from resnet_jax.nested import flatten
from resnet_jax.programs.r1_flags.translate import translate
from resnet_jax.training.optimizers import decay_mask, leaf_path
from tests import paths

GOLDEN = json.loads((paths.GOLDEN / "r1.json").read_text())
RECIPES = {"imagenet": "resnet50_r1", "cifar10": "cifar10_r1"}
CASES = [(data, row) for data in RECIPES for row in GOLDEN[data]["steps"]]


def recipe(data, **changes):
    config = importlib.import_module(f"resnet_jax.configs.{RECIPES[data]}").get_config()
    config.update_from_flattened_dict(changes)
    return config


def plan(data, **changes):
    return make_milestones(recipe(data, **changes), GOLDEN[data]["images"]["train"])


@pytest.mark.parametrize("data", RECIPES)
def test_settings(data):
    wanted, got = GOLDEN[data]["settings"], flatten(json.loads(recipe(data).to_json()))
    assert {key: got[key] for key in wanted} == wanted


@pytest.mark.parametrize(("data", "row"), CASES, ids=[f"{data}, {row['batch_size']}" for data, row in CASES])
def test_steps(data, row):
    config = recipe(data, **{"data.batch_size": row["batch_size"]})
    of_run = make_milestones(config, GOLDEN[data]["images"]["train"])
    assert of_run.steps_per_epoch == pytest.approx(row["an_epoch"], abs=5e-5)
    assert math.ceil(of_run.steps_per_epoch) == row["whole"]  # steps of one epoch in r1
    options = schedule_options(config, of_run)
    assert options["warmup_steps"] == row["warmup"]
    assert options["peak_lr"] == pytest.approx(row["peak_lr"])
    assert list(options["boundaries"]) == row["boundaries"]
    assert abs(of_run.total_steps - row["boundaries"][-1]) <= 1  # the last rate is never used, as in r1


@pytest.mark.parametrize(("data", "row"), [(data, row) for data in RECIPES for row in GOLDEN[data]["evaluations"]])
def test_number_of_evaluations(data, row):
    changes = {"train.epochs": float(row["train_epochs"]), "eval.every_epochs": float(row["epochs_between_evals"])}
    of_run = plan(data, **{"data.batch_size": 8192}, **changes)
    due = [step for step in range(of_run.total_steps + 1) if of_run.evaluation_due(step)]
    assert len(due) == row["count"] and due[-1] == of_run.total_steps
    # The last interval is the remainder: 90 epochs in intervals of 4 leave 2.
    remaining = (row["train_epochs"] - 1) % row["epochs_between_evals"] + 1
    last = (due[-1] - due[-2]) / of_run.steps_per_epoch
    assert last == pytest.approx(remaining, abs=1 / of_run.steps_per_epoch)


@pytest.mark.parametrize(("split", "training"), [("train", True), ("validation", False)])
def test_names_and_number_of_shards(tmp_path, split, training):
    count = GOLDEN["imagenet"]["files"][split]
    for number in range(count):
        (tmp_path / f"{split}-{number:05d}-of-{count:05d}").touch()
    options = {"train_split": "train", "eval_split": None, "label_offset": 0, "num_classes": None, "cache_dir": None}
    with pytest.raises(UsageError, match=f"the {count} shards of '{split}' in .* are empty: copy or prepare"):
        open_source("tfrecord", training=training, data_dir=str(tmp_path), **options)
    (tmp_path / f"{split}-00007-of-{count:05d}").unlink()
    lacking = f"lacks 1 of the {count} shards of '{split}', for example {split}-00007-of-{count:05d}"
    with pytest.raises(UsageError, match=lacking):
        open_source("tfrecord", training=training, data_dir=str(tmp_path), **options)


@pytest.mark.parametrize("data", RECIPES)
def test_classes_images_and_decayed_parameters(data):
    golden, config = GOLDEN[data], recipe(data, **{"data.source": "synthetic"})
    built = experiment.build(config)
    assert len(built.data.class_names) == golden["classes"]
    assert len(built.data.train_loader.source) == golden["images"]["train"]
    params = jax.eval_shape(built.computation.init).params
    assert params["head"]["kernel"].shape[-1] == golden["classes"]
    paths = {leaf_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    norms = {path.rsplit("/", 1)[0] for path in paths if path.endswith("/scale")}  # only batch norms have a scale
    mask = jax.tree_util.tree_leaves_with_path(decay_mask(params, config.optimizer.decay_pattern))
    spared = {leaf_path(path) for path, decayed in mask if not decayed}
    of_norms = {path for path in paths if path.rsplit("/", 1)[0] in norms}
    assert "head/bias" in paths - of_norms
    assert spared == (of_norms if data == "imagenet" else set())  # r1's CIFAR-10 decays every variable


def test_files_of_cifar10():
    golden = GOLDEN["cifar10"]
    assert golden["record_bytes"] == cifar_binary.RECORD_BYTES
    assert list(cifar_binary.TRAIN_FILES) == golden["files"]["train"]
    assert list(cifar_binary.TEST_FILES) == golden["files"]["validation"]
    assert len(cifar_binary.CLASSES) == golden["classes"]


def test_the_record_of_r1s_own_test(tmp_path):
    golden = GOLDEN["cifar10"]["standardized"]
    record = bytes([golden["label"]]) + b"".join(bytes([value]) * 32 * 32 for value in golden["channel_values"])
    for name in (*cifar_binary.TRAIN_FILES, *cifar_binary.TEST_FILES):
        (tmp_path / name).write_bytes(record)
    image, label, _ = open_source("cifar_binary", training=False, data_dir=str(tmp_path))[0]
    assert label == golden["label"]
    standardized = standardize_per_image(jnp.asarray(image)[None], dtype=jnp.float32)[0]
    assert standardized.shape == (32, 32, 3)
    np.testing.assert_allclose(standardized, np.broadcast_to(golden["pixel"], (32, 32, 3)), rtol=1e-3, atol=1e-6)


def test_the_range_of_the_crops():
    # 40 x 40 after padding: 9 offsets in each direction.
    crop = PadAndCrop(32, recipe("cifar10").data.train_crop.padding)
    tops = {crop(32, 32, np.zeros((0, 4)), (number / 1000, 0.0)).top for number in range(1000)}
    assert tops == set(range(-4, 5))
    # 500 x 375: the shorter side is resized to 256, the longer rounded down to 341; then the central 224 x 224.
    config = recipe("imagenet").data
    view = ResizeThenCentral(config.image_size, config.eval_crop.fraction)(375, 500, np.zeros((0, 4)), ())
    assert (view.height, view.width, view.top, view.left) == (256, 341, 16, 58)
    assert BoxGuided.ATTEMPTS == 100


@pytest.mark.parametrize("dtype", GOLDEN["loss_scale"])
def test_the_loss_scale_of_a_dtype(dtype):
    command = translate([f"--dtype={dtype}"]).command
    scales = [float(word.partition("=")[2]) for word in command if word.startswith("--config.loss.scale=")]
    assert (scales or [1]) == [GOLDEN["loss_scale"][dtype]]
