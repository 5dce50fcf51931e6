"""The messages about a work directory of another config, and the command in them that trains its run further."""

import ast
import json
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.configs import run
from resnet_jax.errors import UsageError
from resnet_jax.experiment.compile import initial_state
from resnet_jax.nested import by_path
from resnet_jax.programs.command import Command
from resnet_jax.programs.train import further_training
from resnet_jax.reporting.workdir import Workdir
from tests.paths import ROOT
from tests.tiny import tiny_config


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """A work directory of a run that has ended at step 21, and its last state."""
    monkeypatch.chdir(tmp_path)
    workdir, config = Workdir("runs/first"), tiny_config()
    workdir.path.mkdir(parents=True)
    built = experiment.build(config, devices=jax.devices()[:1])
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(built.computation.init)
    state = jax.tree.map(lambda leaf: random.uniform(1, 9, leaf.shape).astype(leaf.dtype), shapes)
    meta = {"step": 21, "network": built.computation.network, "data": built.data.identity}
    with Checkpoints(workdir.checkpoints) as checkpoints:
        checkpoints.save(21, state, meta=meta)
    (workdir.path / "config.json").write_text(json.dumps(experiment.resolve(config)))
    write_result(workdir, "completed")
    return workdir, state


def write_result(workdir, stop_reason):
    workdir.write_result({"step": 21, "total_steps": 21, "stop_reason": stop_reason})


def message(workdir, changes):
    """Returns the error of a start in `workdir` with the config of its run and `changes`."""
    command = Command(mode="train", config=tiny_config(changes), workdir="runs/first")
    with pytest.raises(UsageError) as error:
        workdir.check(
            experiment.resolve(command.config),
            may_change=experiment.MAY_CHANGE,
            defaults=experiment.default_settings(),
            cure=lambda: further_training.cure(command, workdir),
        )
    assert not re.search("delete|remove", str(error.value)) and "\n" not in str(error.value)
    return str(error.value)


def config_of(words):
    """Returns the config of a command, as the flags of main.py set it."""
    config = run.get_config(next(word for word in words if word.startswith("--config=")).removeprefix("--config="))
    for word in words:
        if found := re.fullmatch(r"--config\.([^=]+)=(.*)", word):
            is_text = isinstance(config[found[1].split(".")[0]], str) or found[1].endswith("init_from")
            value = found[2] if is_text else ast.literal_eval(found[2])
            config.update_from_flattened_dict({found[1]: value})
    return config


def test_the_command_of_the_message_begins_where_the_run_has_ended(ended):
    workdir, last = ended
    text = message(workdir, {"train.epochs": 15.0})
    assert text.startswith(
        f"work directory {workdir.path} holds a run of another config (train.epochs: 10.0 there, 15.0 here): to train "
        "this config from the beginning, set --workdir=runs/first-2; to train further from the weights, statistics and "
        "optimizer state of that run (learning rate: a tenth of"
    )
    words = shlex.split(text.split(", run ")[-1])
    assert words[:3] == ["resnet-jax", "--config=runs/first", "--workdir=runs/first-2"]
    config = config_of(words)
    assert config.train.epochs == 5.0 and config.schedule.base_lr == pytest.approx(0.01)
    state = initial_state(experiment.build(config, devices=jax.devices()[:1]))
    for field in ("params", "batch_stats", "opt_state"):
        ours, theirs = by_path(getattr(state, field)), by_path(getattr(last, field))
        assert ours.keys() == theirs.keys() and any("trace" in name for name in by_path(last.opt_state))
        for name, leaf in ours.items():
            np.testing.assert_array_equal(leaf, theirs[name])


def test_the_new_directory_is_the_first_that_is_free(ended):
    workdir, _ = ended
    (workdir.path.parent / "first-2").mkdir()
    assert "--workdir=runs/first-3 " in message(workdir, {"train.epochs": 15.0})


def test_a_run_that_was_interrupted_can_also_be_continued(ended):
    workdir, _ = ended
    own = "to continue that run with its own config, run resnet-jax --workdir=runs/first; "
    assert own not in message(workdir, {"train.epochs": 15.0})
    write_result(workdir, "signal")
    assert own in message(workdir, {"train.epochs": 15.0})
    workdir.result.unlink()
    assert own in message(workdir, {"train.epochs": 15.0})


def test_without_a_readable_checkpoint_or_with_another_network_no_command_is_offered(ended):
    workdir, _ = ended
    end = ": to train this config from the beginning, set --workdir=runs/first-2"
    assert message(workdir, {"model.depth": 14}).endswith(end)
    (workdir.checkpoints / "21" / "meta" / "metadata").write_text("{}")
    assert message(workdir, {"train.epochs": 15.0}).endswith(end)


def test_a_finished_run_shows_the_command_for_more(ended):
    workdir, _ = ended
    command = Command(mode="train", config=run.get_config("runs/first"), workdir="runs/first")
    (line,) = further_training.further_commands(command, workdir, stop_reason="completed")
    assert line.startswith(
        "more epochs  resnet-jax --config=runs/first --workdir=runs/first-2 --config.model.init_from="
    )
    assert line.endswith(" --config.train.epochs=10.0")
    for reason, key in (("max_steps", "train.max_steps"), ("stop_at", "eval.stop_at")):
        lines = further_training.further_commands(command, workdir, stop_reason=reason)
        assert lines == [f"to continue  resnet-jax --workdir=runs/first --config.{key}=None"]


@pytest.mark.slow
def test_the_command_runs(tmp_path):
    main = [sys.executable, str(ROOT / "main.py")]
    small = [
        "--config=digits",
        "--config.model.features=4",
        "--config.train.total_steps=3",
        "--config.eval.every_steps=3",
    ]

    def start(*words):
        return subprocess.run([*main, *words], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert start(*small, "--workdir=first").returncode == 0
    refused = start("--workdir=first", "--config.train.total_steps=5")
    assert refused.returncode == 2
    program, *words = shlex.split(refused.stderr.split(", run ")[-1])
    assert program == "resnet-jax"
    more = start(*words)
    assert more.returncode == 0, more.stderr
    assert json.loads((tmp_path / "first-2" / "result.json").read_text())["step"] == 2
    again = start("--workdir=first")
    assert (
        "Nothing to do" in again.stdout and "more epochs  resnet-jax --config=first --workdir=first-3" in again.stdout
    )
