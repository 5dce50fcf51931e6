"""CIFAR-10 from both of its sources: the TFDS data set, and the binary files with a command line of r1."""

import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from resnet_jax.data.decode import decode
from resnet_jax.data.sources import open_source
from resnet_jax.data.sources.cifar_binary import TEST_FILES, TRAIN_FILES
from resnet_jax.programs.r1_flags.translate import translate
from tests.data.encoded import encode
from tests.data.sources.conftest import CIFAR_NAMES
from tests.end_to_end import processes

NUM_TRAIN, NUM_TEST = 500, 90

# ResNet-8 on a few images: trains in seconds.
SMALL = {
    "model.depth": 8,
    "data.batch_size": 50,
    "model.bn_group_size": 50,
    "train.total_steps": 40,
    "eval.every_steps": 20,
    "log.every_steps": 10,
    "log.inputs": False,
    "log.trackers": (),
}


def stand_in(split):
    """Returns images [N, 32, 32, 3] uint8 and labels of a split: each class is noise around its own color."""
    rng = np.random.default_rng(("train", "test").index(split))
    labels = rng.permutation(np.arange(NUM_TRAIN if split == "train" else NUM_TEST) % 10)
    colours = np.random.default_rng(2).uniform(40, 215, (10, 3))
    pixels = colours[labels][:, None, None] + rng.normal(0, 25, (len(labels), 32, 32, 3))
    return pixels.clip(0, 255).astype(np.uint8), labels


class Cifar10(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS data set with the features, splits and version of cifar10, and generated images."""

    name = "cifar10"
    VERSION = tfds.core.Version("3.0.2")

    def _info(self):
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(names=CIFAR_NAMES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,  # TFDS shuffles with TensorFlow
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split):
        for number, (image, label) in enumerate(zip(*stand_in(split), strict=True)):
            encoded = io.BytesIO(encode(image, "PNG"))  # of an array TFDS would ask TensorFlow
            yield number, {"id": f"{split}_{number:05d}", "image": encoded, "label": int(label)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    with contextlib.redirect_stdout(io.StringIO()):
        Cifar10(data_dir=root, file_format="array_record").download_and_prepare()
    return root


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    root = tmp_path_factory.mktemp("binary")
    for split, files in (("train", TRAIN_FILES), ("test", TEST_FILES)):
        images, labels = stand_in(split)
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        records = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
        for file, part in zip(files, np.split(records, len(files)), strict=True):
            (root / file).write_bytes(part.tobytes())
    return root


@pytest.mark.parametrize("training", [True, False])
def test_tfds_and_binary_files_give_the_same_images(prepared, binary, training):
    options = {"name": "cifar10", "train_split": "train", "eval_split": None, "cache_dir": None}
    ours = open_source("tfds", training=training, data_dir=str(prepared), **options)
    theirs = open_source("cifar_binary", training=training, data_dir=str(binary))
    assert ours.class_names == theirs.class_names == CIFAR_NAMES
    assert ours.name.startswith("cifar10:3.0.2") and len(ours) == len(theirs)
    images, labels = stand_in("train" if training else "test")
    for index in (0, 1, len(ours) - 1):
        assert ours[index].label == theirs[index].label == labels[index]
        np.testing.assert_array_equal(decode(ours[index].image), images[index])
        np.testing.assert_array_equal(theirs[index].image, images[index])


def check(workdir, done):
    """Checks that a small run is better than chance, and was evaluated on every image."""
    assert done.returncode == 0, done.stdout + done.stderr
    result = processes.read_result(workdir)
    assert (result["step"], result["eval"]["count"]) == (40, NUM_TEST)
    losses = [line["loss"] for line in processes.read_metrics(workdir) if line["split"] == "train"]
    assert losses[-1] < 0.5 * losses[0]
    assert result["eval"]["top1"] > 0.5
    assert tuple(json.loads((workdir / "classes.json").read_text())) == CIFAR_NAMES
    return result


@pytest.mark.slow
def test_the_recipe_trains_on_the_data_set_of_tfds(prepared, tmp_path):
    done = processes.run("configs/cifar10.py", tmp_path, prepared, SMALL)
    check(tmp_path, done)
    assert "cifar10:3.0.2/train 500 images, cifar10:3.0.2/test 90" in done.stdout


def run(words, changes):
    """Runs the translation of a command line of r1 with additional flags."""
    program, *arguments = translate(words).command
    assert program == "python"
    return subprocess.run(
        [sys.executable, *arguments, *(f"--config.{key}={value}" for key, value in changes.items())],
        cwd=processes.ROOT,
        env=processes.environment("/none"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_command_line_of_r1_learns_and_evaluates_its_own_files(binary, tmp_path):
    words = ["python", "cifar10_main.py", "-dd", str(binary), f"--model_dir={tmp_path}", "-rs", "8", "-bs", "50"]
    # The running averages need a thousand steps; the second command differs in nothing else.
    changes = {"model.bn_momentum": 0.9, "eval.every_steps": 20, "log.every_steps": 10, "log.trackers": ()}
    done = run([*words, "--max_train_steps=40"], changes)
    result = check(tmp_path, done)
    assert result["stop_reason"] == "max_steps" and result["total_steps"] == 40
    rates = [line["lr"] for line in processes.read_metrics(tmp_path) if line["split"] == "train"]
    assert rates == pytest.approx([0.1 * 50 / 128] * 4)  # of the schedule of 182 epochs, whatever the length of the run
    again = run([*words, "--max_train_steps=40", "--eval_only"], changes)
    assert again.returncode == 0, again.stdout + again.stderr
    (path,) = tmp_path.glob("evaluations/*/certificate.json")
    evaluation = json.loads(path.read_text())
    assert evaluation["eval"] | {"step": evaluation["weights"]["step"]} == result["eval"]
