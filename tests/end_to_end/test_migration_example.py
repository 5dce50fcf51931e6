"""Runs the commands of docs/migration_example.md on made-up shards and a run that TensorFlow has begun."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests import paths
from tests.data.encoded import encode, photo
from tests.data.record_files import serialised, write_tfrecord
from tests.models.networks import R1, initialize, network
from tests.weights.tensorflow_runs import begin

pytestmark = pytest.mark.slow

PAGE = paths.ROOT / "docs" / "migration_example.md"
SIDE, BATCH, BEFORE = 64, 8, 2  # pixels instead of 224, for the speed of the test; steps of TensorFlow
# A program in front of Python that makes the images of main.py small, and starts with all other arguments unchanged.
WRAPPER = f"""#!/bin/sh
case "$1" in main.py) set -- "$@" --config.data.image_size={SIDE} --config.log.inputs=False ;; esac
exec {sys.executable} "$@"
"""


def blocks(name):
    """Returns the code blocks of the page that are marked with a name."""
    return re.findall(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)


def make_shards(directory):
    """Writes 16 training images and 8 for evaluation as r1's shards."""
    directory.mkdir()
    for shard, numbers in {
        "train-00000-of-00002": range(8),
        "train-00001-of-00002": range(8, 16),
        "validation-00000-of-00001": range(16, 24),
    }.items():
        records = [
            {"image/encoded": encode(photo(70, 90, seed=n), "JPEG"), "image/class/label": 1 + n} for n in numbers
        ]
        write_tfrecord(directory / shard, [serialised(record) for record in records])


def begin_run(directory):
    """Has TensorFlow train two steps as r1 does; returns the directory with model.ckpt-2."""
    directory.mkdir()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(BEFORE + 1, BATCH, SIDE, SIDE, 3)).astype(np.float32) * 50
    labels = rng.integers(1, 1001, (BEFORE + 1, BATCH)).astype(np.int32)
    model = network(**R1 | {"depth": 18, "version": "v1.5", "num_classes": 1001})
    begin(
        directory,
        images=images,
        labels=labels,
        variables=initialize(model, images[0]),
        model={"cifar": False, "size": 18, "version": 1, "classes": 1001},
        boundaries=[10**6],
        rates=[1e-6, 1e-7],
        weight_decay=1e-4,
        decays_norms=False,
        before=BEFORE,
    )
    return directory / "model"


def test_the_commands_of_the_page(tmp_path):
    make_shards(tmp_path / "data")
    run = begin_run(tmp_path / "r1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(WRAPPER)
    (tmp_path / "bin" / "python").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "DATA": str(tmp_path / "data"),
        "RUN": str(run),
        "EXPORT": str(tmp_path / "export"),
        "JAX_NUM_CPU_DEVICES": "1",
    }
    steps = [block.replace("evaluate.sh", f"{tmp_path}/evaluate.sh") for block in blocks("migration")]
    script = "set -e\n" + "".join(steps).replace("finish.sh", f"{tmp_path}/finish.sh")
    options = {"cwd": paths.ROOT, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(["sh", "-c", script], check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert f"continuing   from step {BEFORE} of 4, a run of TensorFlow's r1 ResNet" in said
    assert "--config.schedule.images_per_epoch=1281167" in said and "--config.model.bn_group_size=4" in said
    (certificate,) = (run / "evaluations").glob("*/certificate.json")
    assert json.loads(certificate.read_text())["eval"]["count"] == 8
    result = json.loads((run / "result.json").read_text())
    assert (result["step"], result["stop_reason"]) == (4, "completed")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # r1's warm-up to 0.128 * 8 / 256 takes 5 epochs of 1,281,167 images.
    rate = 0.128 * BATCH / 256 * 3 / int(5 * 1_281_167 / BATCH)
    assert next(line["lr"] for line in lines if line["step"] == 4 and "lr" in line) == pytest.approx(rate)
    (client,) = blocks("migration client")
    done = subprocess.run([sys.executable, "-c", client], check=False, **options)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\[[\d ]+\] \(8, 1001\)", done.stdout), done.stdout


def test_the_page_has_the_commands():
    assert len(blocks("migration")) == 2 and len(blocks("migration client")) == 1
