"""Runs translated --eval_only commands on checkpoints written by TensorFlow; compares with TensorFlow's logits."""

import json
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.programs.r1_flags.translate import translate
from tests import paths
from tests.end_to_end.processes import environment
from tests.models.networks import CIFAR, R1, initialize, network
from tests.models.r1_variables import by_r1_name

pytestmark = pytest.mark.slow

IMAGES, RIGHT = 20, 13


def standardize(pixels):
    """`tf.image.per_image_standardization` of [N, H, W, 3] uint8."""
    images = pixels.astype(np.float32)
    deviation = np.maximum(images.std((1, 2, 3), keepdims=True), 1 / np.sqrt(images[0].size))
    return ((images - images.mean((1, 2, 3), keepdims=True)) / deviation).astype(np.float32)


def run_tensorflow(task, directory, values):
    """Has TensorFlow run a task of `tests.models.tensorflow_r1`."""
    np.savez(directory / "cifar20.npz", **values)
    command = [sys.executable, "-m", "tests.models.tensorflow_r1", task, str(directory)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def r1(tmp_path_factory):
    """ResNet-20 of r1 with random weights: `cifar20-v2/` as its Estimator writes it, and `data/test_batch.bin`.

    The labels agree with TensorFlow's predictions for `RIGHT` of the images.
    """
    directory = tmp_path_factory.mktemp("r1")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (IMAGES, 4, 4, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    images = standardize(pixels)
    variables = initialize(network(**CIFAR | R1 | {"depth": 20, "version": "v1.5"}), images)
    values = by_r1_name(variables, 1) | {"images": images}
    (directory / "cases.json").write_text(
        json.dumps({"cifar20": {"cifar": True, "size": 20, "version": 1, "classes": 10}})
    )
    run_tensorflow("forward", directory, values)
    with np.load(directory / "cifar20.out.npz") as outputs:
        logits = outputs["evaluation"]
    # Without this bias an untrained network predicts one class for all images.
    assert not values["resnet_model/dense/bias"].any()
    values["resnet_model/dense/bias"] = -logits.mean(0)
    logits = logits - logits.mean(0)
    run_tensorflow("save", directory, values)
    second, first = np.sort(logits, axis=1)[:, -2:].T
    predicted = logits.argmax(1)
    assert len(set(predicted.tolist())) > 3 and (first - second).min() > 1e-4
    labels = np.where(np.arange(IMAGES) < RIGHT, predicted, (predicted + 1) % 10)
    records = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(labels, pixels, strict=True)]
    (directory / "data").mkdir()
    (directory / "data" / "test_batch.bin").write_bytes(b"".join(records))
    return directory


@pytest.mark.parametrize("flag", ["--model_dir={}", "--pretrained_model_checkpoint_path={}/model.ckpt-7"])
def test_eval_only_evaluates_a_checkpoint_of_r1(r1, flag, tmp_path):
    checkpoint = r1 / "cifar20-v2"
    words = ["cifar10_main.py", "--eval_only", "--resnet_size=20", f"--data_dir={r1 / 'data'}"]
    command = translate([*words, flag.format(checkpoint)]).command
    workdir = checkpoint if f"--workdir={checkpoint}" in command else tmp_path
    more = [] if workdir == checkpoint else [f"--workdir={workdir}"]
    done = subprocess.run(
        [sys.executable, *command[1:], *more],
        cwd=paths.ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (certificate,) = (workdir / "evaluations").glob("*/certificate.json")
    result = json.loads(certificate.read_text())
    assert (result["eval"]["count"], result["right"]["top1"]) == (IMAGES, RIGHT)
    assert result["weights"]["path"] == str(checkpoint / "model.ckpt-7")
