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


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A run of six steps that evaluates and saves after three; each batch and each save waits before it begins.

    Returns result.json, the lines of metrics, and the age of the process when it wrote the former.
    """
    settings = {"train.total_steps": 6, "eval.every_steps": 3, "log.every_steps": 2, "data.num_threads": 0}
    built = experiment.build(tiny_config(settings))
    loaders = {name: slowed(getattr(built.data, name)) for name in ("train_loader", "eval_loader")}
    workdir = Workdir(tmp_path_factory.mktemp("slow") / "run")
    with pytest.MonkeyPatch.context() as patch, workdir.lock():
        patch.setattr(training, "Checkpoints", SlowCheckpoints)
        assert train(replace_in(built, "data", **loaders), workdir, {}, StopRequests()) == 0
        age = process_age() - (time.time() - workdir.result.stat().st_mtime)
    lines = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
    return json.loads(workdir.result.read_text()), [line for line in lines if line["split"] == "train"], age


def seconds_of(lines, part):
    return sum(line["seconds"] * line[f"share_{part}"] for line in lines)


@pytest.mark.slow
def test_the_phases_of_a_run_and_of_each_window_add_up_to_its_wall_time(slow):
    result, lines, age = slow
    seconds = result["seconds"]
    assert set(seconds) == {*PHASES, "total"}
    assert sum(seconds[part] for part in PHASES) == pytest.approx(seconds["total"], rel=0.01)
    for line in lines:
        assert sum(line[f"share_{part}"] for part in PHASES) == pytest.approx(1.0, abs=0.01)
    # The windows follow each other without a gap, from the start of the process.
    assert sum(line["seconds"] for line in lines) < seconds["total"]
    assert 0.95 * age - 0.5 < seconds["total"] < age + 0.05  # the result is written after `total` is taken


def test_no_program_is_compiled_after_the_first_step(slow):
    assert slow[0]["programs_compiled_later"] == 0


def test_the_first_step_is_timed_from_the_beginning(slow):
    result, _, _ = slow
    assert result["seconds"]["compile"] < result["seconds_to_first_step"] < result["seconds"]["total"]


# The phases add up to the wall time, so a sleep counts in one phase only: a lower bound suffices on a busy machine too.


def test_a_slow_loader_counts_as_input(slow):
    result, lines, _ = slow
    assert seconds_of(lines, "input") > 4 * SLOW  # six batches, some of them loaded while a step runs
    assert result["seconds"]["input"] > 4 * SLOW


def test_a_slow_evaluation_counts_as_eval(slow):
    result, lines, _ = slow
    assert seconds_of(lines, "eval") > SLOW
    assert result["seconds"]["eval"] > 2 * SLOW


def test_a_slow_checkpoint_counts_as_checkpoint(slow):
    result, lines, _ = slow
    assert seconds_of(lines, "checkpoint") > 3 * SLOW
    assert result["seconds"]["checkpoint"] > 2 * 3 * SLOW
