"""A run gives the same numbers from the same examples on any number of processes and devices."""

import itertools
import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from drill.comparison import read_state
from drill.watching import Watch
from tests.end_to_end import processes

CONFIG = "configs/digits.py"
PROGRAM = "tests/end_to_end/recording_main.py"
EXAMPLES = 200

# Batch norm groups of 6 images: at least one on each of 8 devices. An epoch of 200 images has 4.2 steps.
EVERYTHING_ON = processes.SMALL | {
    "data.train_split": f"train[:{EXAMPLES}]",
    "data.augment.name": "trivial_augment",
    "input.flip": True,
    "input.erasing.probability": 0.25,
    "mixing.mixup_alpha": 0.2,
    "mixing.cutmix_alpha": 1.0,
    "model.bn_group_size": 6,
    "model.stochastic_depth": 0.1,
    "log.every_steps": 1,
}
TEN_STEPS = EVERYTHING_ON | {"train.total_steps": 10, "eval.every_steps": 10}
# With seed 0 a rounding error decides at step 22 whether a gradient passes a ReLU.
MOVING = EVERYTHING_ON | {
    "seed": 1,
    "train.total_steps": 24,
    "eval.every_steps": 24,
    "checkpoint.every_steps": 100,
}


def start(workdir, data_dir, changes, *, topology):
    """Starts `topology` = (processes, devices of each); each start records its reads in a separate directory."""
    count, devices = topology
    number = len(list(workdir.parent.glob(f"{workdir.name}.reads-*")))
    reads = workdir.parent / f"{workdir.name}.reads-{number}"
    reads.mkdir(parents=True)
    return processes.start_several(
        CONFIG,
        workdir,
        data_dir,
        changes,
        count=count,
        devices=devices,
        program=PROGRAM,
        variables={"READS": str(reads)},
    )


def finish(workdir, data_dir, changes, *, topology):
    with start(workdir, data_dir, changes, topology=topology) as run:
        statuses = run.wait(300)
        assert not any(statuses), "".join(run.output(number)[-2000:] for number in range(len(statuses)))


def stop_at(step, workdir, data_dir, changes, *, topology):
    """Starts the run and sends SIGTERM to its last process after a step; returns the step that was saved.

    It looks again and again, sleeping between the looks: the moment lies in another process.
    """
    watch = Watch(workdir, eval_every=1000)
    with start(workdir, data_dir, changes, topology=topology) as run:
        while watch.step < step:
            assert set(run.statuses()) == {None}, "the run ended before it could be stopped: " + run.output(0)
            time.sleep(0.002)
        run.send(signal.SIGTERM, [topology[0] - 1])
        assert set(run.wait(120)) == {75}, "".join(run.output(number)[-2000:] for number in range(topology[0]))
    stopped = processes.read_result(workdir)["step"]
    assert step <= stopped < changes["train.total_steps"]
    return stopped


def gap(workdir, other, step):
    """Returns the largest difference between two elements of the states."""
    here, there = read_state(workdir, step), read_state(other, step)
    assert jax.tree.structure(here) == jax.tree.structure(there)
    pairs = zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True)
    largest = max(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max() for a, b in pairs)
    print(f"gap {largest:.3g}")  # shown by pytest -rP
    return largest


def examples_read(workdir, total_steps):
    """Returns the examples read for each step that the run kept, by process, in the order of rows.

    What a start reads ahead and does not come to train on is left out.
    """
    starts = [one["start_step"] for one in json.loads((workdir / "run.json").read_text())["starts"]]
    steps = []
    for number, (begin, end) in enumerate(itertools.pairwise([*starts, total_steps])):
        files = sorted((workdir.parent / f"{workdir.name}.reads-{number}").glob("*.jsonl"))
        lines = [
            {line["step"]: line["read"] for line in map(json.loads, file.read_text().splitlines())} for file in files
        ]
        steps += [[of_process[step] for of_process in lines] for step in range(begin, end)]
    return steps


def in_one_row(steps):
    return [list(itertools.chain(*by_process)) for by_process in steps]


def assert_each_epoch_has_every_example_once(steps):
    sequence = list(itertools.chain(*in_one_row(steps)))
    epochs = len(sequence) // EXAMPLES
    assert epochs >= 5
    for epoch in range(epochs):
        assert sorted(sequence[epoch * EXAMPLES : (epoch + 1) * EXAMPLES]) == list(range(EXAMPLES))
    rest = sequence[epochs * EXAMPLES :]
    assert len(set(rest)) == len(rest)


@pytest.mark.slow
def test_one_two_and_four_processes_agree_and_read_the_same(tmp_path, data_dir):
    topologies = {"1x4": (1, 4), "2x2": (2, 2), "4x1": (4, 1)}
    for name, topology in topologies.items():
        finish(tmp_path / name, data_dir, TEN_STEPS, topology=topology)
    read = {name: examples_read(tmp_path / name, 10) for name in topologies}
    for name, (count, _) in topologies.items():
        assert gap(tmp_path / name, tmp_path / "1x4", 10) <= 1e-6
        assert in_one_row(read[name]) == in_one_row(read["1x4"])
        assert {len(part) for step in read[name] for part in step} == {
            48 // count
        }  # each process decodes only its own rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_dir):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(workdir, data_dir, MOVING, topology=(1, 4))
    return workdir


@pytest.mark.slow
def test_a_run_moves_from_four_devices_to_two_to_eight(tmp_path, data_dir, undisturbed):
    workdir = tmp_path / "run"
    first = stop_at(5, workdir, data_dir, MOVING, topology=(1, 4))
    assert stop_at(first + 3, workdir, data_dir, MOVING, topology=(1, 2)) < 22
    finish(workdir, data_dir, MOVING, topology=(1, 8))
    assert gap(workdir, undisturbed, 24) <= 1e-5
    read = examples_read(workdir, 24)
    assert in_one_row(read) == in_one_row(examples_read(undisturbed, 24))
    assert_each_epoch_has_every_example_once(read)


@pytest.mark.slow
def test_a_run_moves_from_two_processes_to_one_with_whole_batches_or_in_parts(tmp_path, data_dir, undisturbed):
    stop_at(7, tmp_path / "whole", data_dir, MOVING, topology=(2, 2))
    for name in ("whole", "whole.reads-0"):
        shutil.copytree(tmp_path / name, tmp_path / name.replace("whole", "in_parts"))
    for name, changes in {"whole": {}, "in_parts": {"train.per_device_limit": 12}}.items():
        workdir = tmp_path / name
        finish(workdir, data_dir, MOVING | changes, topology=(1, 1))
        assert ("parts" in (workdir / "train.log").read_text()) == (name == "in_parts")
        assert gap(workdir, undisturbed, 24) <= 1e-5
        read = examples_read(workdir, 24)
        assert in_one_row(read) == in_one_row(examples_read(undisturbed, 24))
        assert_each_epoch_has_every_example_once(read)
