"""Which directories hold a run of r1, and what cannot be continued; without TensorFlow."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from resnet_jax import experiment
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.programs.train.run import train
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.weights import r1_run
from resnet_jax.weights.formats import r1
from resnet_jax.weights.stored import StoredWeights
from tests.tiny import tiny_config


def build(changes=None):
    return experiment.build(tiny_config({"train.total_steps": 4} | (changes or {})), devices=jax.devices()[:1])


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-3"\n')
    (tmp_path / "model.ckpt-3.index").touch()
    return tmp_path


@pytest.fixture
def reader(monkeypatch):
    """Makes r1's reader return 2 for every weight, 3 for every momentum, and the step 3."""
    shapes = jax.eval_shape(build().computation.init).variables
    weights = {name: np.full(leaf.shape, 2, np.float32) for name, leaf in flatten_dict(shapes, sep="/").items()}
    momentum = {name: leaf + 1 for name, leaf in weights.items() if name.startswith("params/")}
    found = {"step": 3, "momentum": momentum}
    stored = StoredWeights("/r1", "r1", weights, {}, {"global_step": "a counter"}, (), {})
    monkeypatch.setattr(r1, "read", lambda prefix, kind: stored)
    monkeypatch.setattr(r1, "read_training_state", lambda prefix, stored: (found["step"], found["momentum"]))
    return found


def test_a_directory_of_r1_is_recognized(directory, tmp_path):
    assert r1_run.find_run(directory) == directory / "model.ckpt-3"
    assert r1_run.find_run(tmp_path / "missing") is None
    empty = tmp_path / "empty"
    empty.mkdir()
    assert r1_run.find_run(empty) is None


def test_checkpoints_without_tensorflows_file_are_an_error(tmp_path):
    (tmp_path / "model.ckpt-12.index").touch()
    (tmp_path / "model.ckpt-7.index").touch()
    with pytest.raises(UsageError, match=r'model.ckpt-12 of .*line model_checkpoint_path: "model.ckpt-12"'):
        r1_run.find_run(tmp_path)


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_step_weights_statistics_and_momentum_are_taken(directory, reader, trainable):
    built = build({"train.trainable": trainable})
    if trainable == "head":
        reader["momentum"] = {name: leaf for name, leaf in reader["momentum"].items() if "/head/" in name}
    state = built.computation.continue_r1(directory / "model.ckpt-3", jax.eval_shape(built.computation.init))
    assert int(state.step) == 3
    assert {float(leaf.mean()) for leaf in jax.tree.leaves(state.variables)} == {2.0}
    momentum = by_path(state.opt_state)
    assert {float(leaf.mean()) for leaf in momentum.values()} == {3.0}
    assert len(momentum) == (2 if trainable == "head" else len(by_path(state.params)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.name": "lars"}, r"cannot be continued with 'lars'.*set config.optimizer.name=sgd"),
        ({"optimizer.name": "adamw"}, r"cannot be continued with 'adamw'"),
        ({"optimizer.decoupled": True}, r"cannot be continued with 'sgd' with decoupled weight decay"),
        ({"model.depth": 14}, r"missing|does not"),
    ],
)
def test_what_cannot_be_continued_is_an_error(directory, reader, changes, message):
    built = build(changes)
    with pytest.raises(UsageError, match=message) as error:
        built.computation.continue_r1(directory / "model.ckpt-3", jax.eval_shape(built.computation.init))
    assert "\n" not in str(error.value)


def test_a_run_that_trained_only_the_head_has_no_other_momentum(directory, reader):
    reader["momentum"] = {name: leaf for name, leaf in reader["momentum"].items() if "/head/" in name}
    built = build()
    with pytest.raises(UsageError, match=r"has no momentum of params/.* more.*--fine_tune, --enable_lars"):
        built.computation.continue_r1(directory / "model.ckpt-3", jax.eval_shape(built.computation.init))


def test_a_finished_run_is_not_trained_again(directory, reader):
    reader["step"] = 4
    with pytest.raises(UsageError, match=r"is at step 4, and this run ends at step 4: evaluate it with --mode=eval"):
        train(build(), Workdir(directory), {}, StopRequests())
    assert not (directory / "checkpoints").exists() or not any((directory / "checkpoints").iterdir())
