"""Published command lines of r1, translated, run to the end on made-up data, with r1's steps and learning rates."""

import functools
import importlib
import json
import math
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.programs.r1_flags.table import FLAGS, PROGRAMS
from resnet_jax.programs.r1_flags.translate import translate
from resnet_jax.programs.r1_flags.words import parse, split_off_program
from resnet_jax.programs.train.run import train
from resnet_jax.reporting.workdir import Workdir
from tests.data.encoded import encode, photo
from tests.data.record_files import serialised, write_tfrecord
from tests.programs.r1_flags.test_command_lines import ROWS
from tests.programs.r1_flags.test_translate import applied

pytestmark = pytest.mark.slow

# Beginnings of the source of a line, and words in it.
CHOSEN = [
    ("tensorflow/models official/r1/resnet/README.md", "cifar10_main.py --data_dir /data/cifar-10-batches-bin"),
    ("tensorflow/models official/r1/resnet/README.md", "imagenet_main.py --data_dir=/path/to/imagenet"),
    ("tensorflow/models cifar10_test.py", "--use_synthetic_data -resnet_version 1 -batch_size 4"),
    ("tensorflow/models cifar10_test.py", "--use_synthetic_data -resnet_version 2 -batch_size 4"),
    ("tensorflow/models imagenet_test.py", "-resnet_version 1 -batch_size 4 --max_train_steps 1"),
    ("tensorflow/models imagenet_test.py", "-resnet_version 2 -batch_size 4 -resnet_size 18"),
    ("tensorflow/models estimator_benchmark.py, Resnet50EstimatorAccuracy", "--batch_size=1024"),
    ("tensorflow/models estimator_benchmark.py, Resnet50EstimatorBenchmarkSynth", "--batch_size=128 --dtype=fp16"),
    ("Ascend documentation, single device", "--batch_size=32"),
    ("a benchmark of Ascend", "--epochs_between_evals=5"),
    ("a benchmark of reduced precision", "--distribution_strategy=off"),
    ("a profile of one operation", "--max_train_steps=5000"),
    ("Horovod over MPI", "--max_train_steps 500"),
    ("KungFu on ImageNet", "-bs 128 -ng 2 -te 1"),
    ("a cluster's wrapper over both APIs", "--train_epochs=1"),
]
IMAGES = {"imagenet": 1_281_167, "cifar10": 50_000}  # NUM_IMAGES in r1


def find(source, words):
    """Returns the command line of a published row."""
    found = [line for where, verdict, line in ROWS if where.startswith(source) and words in line]
    assert found, (source, words)
    return found[0]


def r1_rate(step, *, cifar, batch_size):
    """`learning_rate_with_decay` of r1, in float64."""
    base, denominator, epochs = (0.1, 128, (91, 136, 182)) if cifar else (0.128, 256, (30, 60, 80, 90))
    factors = (1, 0.1, 0.01, 0.001, 1e-4)
    initial, per_epoch = base * batch_size / denominator, IMAGES["cifar10" if cifar else "imagenet"] / batch_size
    warmup = 0 if cifar else int(per_epoch * 5)
    if step < warmup:
        return initial * step / warmup
    return initial * factors[sum(step > int(per_epoch * epoch) for epoch in epochs)]


def r1_steps(values, num_images):
    """The number of steps of r1's loop over `schedule`; the last batch of a train() may be smaller."""
    epochs, between, batch_size = (values[name] for name in ("train_epochs", "epochs_between_evals", "batch_size"))
    schedule = [between] * math.ceil(epochs / between)
    schedule[-1] = epochs - sum(schedule[:-1])
    steps = sum(math.ceil(part * num_images / batch_size) for part in schedule)
    return min(steps, values["max_train_steps"] or steps)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Returns a function of the program and a number of images that makes a directory of data."""

    @functools.cache
    def make(cifar, count):
        directory = tmp_path_factory.mktemp("data")
        rng = np.random.default_rng(0)
        if cifar:
            sizes = {f"data_batch_{number}": len(range(number, count, 5)) for number in range(5)}
            for number, size in enumerate([*sizes.values(), 8]):
                records = rng.integers(0, 256, (size, 3073), np.uint8)
                records[:, 0] %= 10
                name = "test_batch" if number == 5 else f"data_batch_{number + 1}"
                (directory / f"{name}.bin").write_bytes(records.tobytes())
            return directory
        files = [encode(photo(20, 24, seed=seed), "JPEG") for seed in range(8)]
        for name, size in (("train-00000-of-00001", count), ("validation-00000-of-00001", 8)):
            records = [{"image/encoded": files[n % 8], "image/class/label": 1 + n % 1000} for n in range(size)]
            write_tfrecord(directory / name, [serialised(record) for record in records])
        return directory

    return make


@pytest.mark.parametrize("chosen", CHOSEN, ids=[f"{number}" for number in range(len(CHOSEN))])
def test_a_published_line_runs_to_its_end(chosen, data, tmp_path):
    line = shlex.split(find(*chosen))
    model, words = split_off_program(line)
    program, cifar = PROGRAMS[model], model == "cifar10"
    values = {flag.name: flag.default for flag in FLAGS} | program.defaults | parse(words).given
    command = translate(line).command
    recipe = importlib.import_module(f"resnet_jax.configs.{Path(command[2]).stem}")
    config = applied(recipe.get_config(), [word for word in command[3:] if not word.startswith("--verbosity")])
    # A smaller network and smaller images, for the time of the test; all else is as in the translation.
    small = {"model.depth": 8 if cifar else 18, "model.features": 4, "data.image_size": 8}
    small |= {"log.inputs": False, "log.trackers": (), "data.num_threads": 1, "log.every_steps": 1}
    num_images = IMAGES[model]
    if not values["use_synthetic_data"]:
        num_images = values["batch_size"]
        small["data.data_dir"] = str(data(cifar, num_images))
    config.update_from_flattened_dict(small)
    built = experiment.build(config, devices=jax.devices()[:1], refuse_tiny_crops=False)
    workdir = Workdir(tmp_path)
    assert train(built, workdir, experiment.resolve(config), StopRequests()) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["step"] == r1_steps(values, num_images)
    assert result["stop_reason"] in ("completed", "max_steps")
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = {entry["step"]: entry["lr"] for entry in lines if entry["split"] == "train"}
    assert sorted(rates) == list(range(1, result["step"] + 1))
    # The update from step s to s + 1 has the rate of step s.
    expected = [r1_rate(step - 1, cifar=cifar, batch_size=values["batch_size"]) for step in sorted(rates)]
    np.testing.assert_allclose([rates[step] for step in sorted(rates)], expected, rtol=1e-5, atol=1e-12)
    evaluations = [entry["step"] for entry in lines if entry["split"] == "eval"]
    per_epoch = num_images / values["batch_size"]
    wanted = {min(result["step"], round(part * per_epoch)) for part in evaluation_epochs(values)}
    assert set(evaluations) == wanted


def evaluation_epochs(values):
    """The epochs after which r1 evaluates; with --max_train_steps, cycles after that step evaluate the same state."""
    epochs, between = values["train_epochs"], values["epochs_between_evals"]
    return [*range(between, epochs, between), epochs]


def test_there_are_fifteen():
    assert len({find(*chosen) for chosen in CHOSEN}) == 15
