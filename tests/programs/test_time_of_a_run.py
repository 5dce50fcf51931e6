"""The time accounting of a real run attributes a delay to its phase."""

import dataclasses
import json
import time

import pytest

from resnet_jax import experiment
from resnet_jax.data.loader import Loader
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.programs.train import run as training
from resnet_jax.programs.train.run import train
from resnet_jax.reporting.time_accounting import PHASES, process_age
from resnet_jax.reporting.workdir import Workdir
from tests.tiny import replace_in, tiny_config

SLOW = 0.15  # seconds; a step of this network takes a few thousandths


class SlowLoader(Loader):
    def batch(self, step):
        time.sleep(SLOW)
        return super().batch(step)


def slowed(loader):
    return SlowLoader(**{field.name: getattr(loader, field.name) for field in dataclasses.fields(loader)})


class SlowCheckpoints(training.Checkpoints):
    def save(self, *arguments, **options):
        time.sleep(3 * SLOW)
        super().save(*arguments, **options)


def run(tmp_path, changes):
    """Trains six steps, evaluating and saving after three.

    Returns result.json, the lines of metrics, and the age of the process when it wrote the former.
    """
    settings = {"train.total_steps": 6, "eval.every_steps": 3, "log.every_steps": 2, "data.num_threads": 0}
    built = experiment.build(tiny_config(settings))
    built = replace_in(built, "data", **{name: change(getattr(built.data, name)) for name, change in changes.items()})
    workdir = Workdir(tmp_path / "run")
    with workdir.lock():
        assert train(built, workdir, {}, StopRequests()) == 0
        age = process_age() - (time.time() - workdir.result.stat().st_mtime)
    lines = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
    return json.loads(workdir.result.read_text()), [line for line in lines if line["split"] == "train"], age


def seconds_of(lines, part):
    return sum(line["seconds"] * line[f"share_{part}"] for line in lines)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return run(tmp_path_factory.mktemp("quick"), {})


def test_the_phases_of_a_run_and_of_each_window_add_up_to_its_wall_time(quick):
    result, lines, age = quick
    seconds = result["seconds"]
    assert set(seconds) == {*PHASES, "total"}
    assert sum(seconds[part] for part in PHASES) == pytest.approx(seconds["total"], rel=0.01)
    for line in lines:
        assert sum(line[f"share_{part}"] for part in PHASES) == pytest.approx(1.0, abs=0.01)
    # The windows follow each other without a gap, from the start of the process.
    assert sum(line["seconds"] for line in lines) < seconds["total"]
    assert 0.95 * age - 0.5 < seconds["total"] < age + 0.05  # the result is written after `total` is taken


def test_no_program_is_compiled_after_the_first_step(quick):
    assert quick[0]["programs_compiled_later"] == 0


def test_the_first_step_is_timed_from_the_beginning(quick):
    result, _, _ = quick
    assert result["seconds"]["compile"] < result["seconds_to_first_step"] < result["seconds"]["total"]


# The phases add up to the wall time, so a sleep counts in one phase only: a lower bound suffices on a busy machine too.


def test_a_slow_loader_counts_as_input(tmp_path):
    result, lines, _ = run(tmp_path, {"train_loader": slowed})
    assert seconds_of(lines, "input") > 4 * SLOW  # six batches, some of them loaded while a step runs
    assert result["seconds"]["input"] > 4 * SLOW


def test_a_slow_evaluation_counts_as_eval(tmp_path):
    result, lines, _ = run(tmp_path, {"eval_loader": slowed})
    assert seconds_of(lines, "eval") > SLOW
    assert result["seconds"]["eval"] > 2 * SLOW


def test_a_slow_checkpoint_counts_as_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "Checkpoints", SlowCheckpoints)
    result, lines, _ = run(tmp_path, {})
    assert seconds_of(lines, "checkpoint") > 3 * SLOW
    assert result["seconds"]["checkpoint"] > 2 * 3 * SLOW
