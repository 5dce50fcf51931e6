"""Processes joined by jax.distributed save and restore in one directory of checkpoints."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.checkpoints.manager import Checkpoints
from tests.checkpoints.states import abstract, fill, steps_on_disk
from tests.checkpoints.test_damaged import truncate
from tests.end_to_end.processes import ROOT


def together(task, directory, *, count=2, devices=2):
    """Runs a task in `count` processes; returns the output of each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    program = [sys.executable, "-m", "tests.end_to_end.checkpoint_process", str(port), str(count)]
    running = [
        subprocess.Popen(
            [*program, str(number), str(directory), task],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * count, outputs
    return [json.loads(output) for output, _ in outputs]


@pytest.fixture(scope="module")
def saved_by_two(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two") / "checkpoints"
    answers = together("save", directory)
    assert answers == [{"latest": 5, "best": [1, 0.5]}] * 2
    return directory


@pytest.fixture
def checkpoints(saved_by_two, tmp_path):
    """A copy of the checkpoints of two processes, opened in this process."""
    subprocess.run(["cp", "-r", str(saved_by_two), str(tmp_path / "checkpoints")], check=True)
    with Checkpoints(tmp_path / "checkpoints", keep_latest=2, keep_best=1) as opened:
        yield opened


@pytest.mark.slow
def test_one_process_restores_the_checkpoint_of_two(checkpoints):
    assert steps_on_disk(checkpoints) == [1, 4, 5]
    assert checkpoints.best() == (1, 0.5)
    restored, meta = checkpoints.restore_latest(abstract(devices=8))
    assert meta == {"step": 5} and int(restored.step) == 5
    np.testing.assert_array_equal(restored.params["w"], [5.0, 5.0, 5.0])


@pytest.mark.slow
def test_two_processes_agree_on_what_is_damaged(checkpoints):
    truncate(checkpoints.directory / "5")
    assert together("restore", checkpoints.directory) == [{"meta": {"step": 4}, "latest": 4, "total": 12.0}] * 2
    assert steps_on_disk(checkpoints) == [1, 4]


@pytest.mark.slow
def test_a_checkpoint_that_one_of_two_processes_cannot_read_is_used_by_neither(checkpoints):
    expected = {"meta": {"step": 4}, "latest": 4, "total": 12.0}
    assert together("restore_where_one_cannot_read", checkpoints.directory) == [expected] * 2
    assert steps_on_disk(checkpoints) == [1, 4]


@pytest.mark.slow
def test_four_processes_restore_the_checkpoint_of_one(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep_latest=2, keep_best=1) as checkpoints:
        fill(checkpoints, {7: 0.5})
    answers = together("restore", checkpoints.directory, count=4, devices=1)
    assert answers == [{"meta": {"step": 7}, "latest": 7, "total": 21.0}] * 4
