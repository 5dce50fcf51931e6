"""A run that starts from the training state of another: weights, statistics, average and optimizer state."""

import jax
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.errors import UsageError
from resnet_jax.experiment.compile import initial_state
from resnet_jax.nested import by_path
from resnet_jax.weights.warm_start import warm_start_optimizer
from tests.tiny import tiny_config

NESTEROV, ADAMW = {"optimizer.name": "sgd"}, {"optimizer.name": "adamw"}


def build(changes):
    return experiment.build(tiny_config(changes), devices=jax.devices()[:1])


def shapes(changes):
    return jax.eval_shape(build(changes).computation.init)


def checkpoint(workdir, changes, *, optimizer=None):
    """Saves a state of random numbers as the newest checkpoint of a run and returns it; optimizer: for config.json."""
    built = build(changes)
    random = np.random.default_rng(0)
    state = jax.tree.map(
        lambda leaf: random.uniform(1, 9, leaf.shape).astype(leaf.dtype), jax.eval_shape(built.computation.init)
    )
    meta = {"step": 7, "network": built.computation.network, "data": built.data.identity}
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        checkpoints.save(7, state, meta=meta)
    if optimizer:
        (workdir / "config.json").write_text(f'{{"optimizer": {{"name": "{optimizer}"}}}}')
    return state


def further_training(workdir, **changes):
    keys = {"model.init_from": str(workdir), "model.init_head": True, "model.init_optimizer": True}
    return keys | {name.replace("__", "."): value for name, value in changes.items()}


def assert_same(one, other):
    one, other = by_path(one), by_path(other)
    assert one.keys() == other.keys()
    for name, leaf in one.items():
        np.testing.assert_array_equal(np.asarray(leaf), np.asarray(other[name]), err_msg=name)
        assert leaf.dtype == other[name].dtype, name


@pytest.mark.parametrize("changes", [NESTEROV | {"ema.decay": 0.9}, ADAMW], ids=["nesterov and average", "adamw"])
def test_the_new_run_begins_with_all_of_the_training_state_but_the_step(tmp_path, changes):
    last = checkpoint(tmp_path, changes, optimizer=changes["optimizer.name"])
    state = initial_state(build(changes | further_training(tmp_path)))
    assert (int(last.step), int(state.step)) != (0, 7) and int(state.step) == 0
    for field in ("params", "batch_stats", "opt_state", "average"):
        assert_same(getattr(state, field), getattr(last, field))


def test_without_init_optimizer_the_weights_are_the_average_and_the_velocity_is_zero(tmp_path):
    changes = NESTEROV | {"ema.decay": 0.9}
    last = checkpoint(tmp_path, changes, optimizer="sgd")
    state = initial_state(build(changes | further_training(tmp_path) | {"model.init_optimizer": False}))
    assert_same(state.variables, last.average)
    assert_same(state.average, last.average)
    assert all(not leaf.any() for leaf in jax.tree.leaves(jax.device_get(state.opt_state)))


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.9), (0.9, 0.0)])
def test_a_new_average_begins_with_the_trained_weights_and_an_old_one_may_be_left(tmp_path, before, after):
    last = checkpoint(tmp_path, {"ema.decay": before})
    loaded = build({"ema.decay": after} | further_training(tmp_path)).computation.warm_start(
        shapes({"ema.decay": after})
    )
    assert_same(loaded.variables, last.variables)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(loaded.average))


def test_options_without_a_state_may_differ(tmp_path):
    last = checkpoint(tmp_path, NESTEROV, optimizer="sgd")
    others = {"clip_norm": 1.0, "lr_scales": (("^head/", 10.0),), "decoupled": True, "momentum": 0.5, "nesterov": False}
    changes = {f"optimizer.{name}": value for name, value in others.items()}
    loaded = warm_start_optimizer(str(tmp_path), shapes(NESTEROV | changes).opt_state, name="sgd")
    ours, theirs = by_path(loaded), by_path(last.opt_state)
    assert len(ours) == len(theirs) and ours.keys() != theirs.keys()
    for one, other in zip(ours.values(), theirs.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_optimizer_or_other_trained_parameters_are_errors_with_the_cure(tmp_path):
    checkpoint(tmp_path, NESTEROV, optimizer="sgd")
    cure = "set config.model.init_optimizer=False to begin with a new optimizer state$"
    with pytest.raises(UsageError, match=rf"was trained with 'sgd', not 'lars': {cure}"):
        warm_start_optimizer(str(tmp_path), shapes({"optimizer.name": "lars"}).opt_state, name="lars")
    frozen = shapes({"train.trainable": "head"}).opt_state
    with pytest.raises(UsageError, match=rf"belongs to other trained parameters \(trace/.*\): {cure}"):
        warm_start_optimizer(str(tmp_path), frozen, name="sgd")
    wider = shapes({"model.features": 8}).opt_state
    with pytest.raises(UsageError, match=rf"belongs to other trained parameters \(trace/.*\): {cure}"):
        warm_start_optimizer(str(tmp_path), wider, name="sgd")
    (tmp_path / "config.json").unlink()  # a checkpoint that was copied alone: its optimizer is unknown
    with pytest.raises(UsageError, match=rf"belongs to other trained parameters \(count, .*\): {cure}"):
        warm_start_optimizer(str(tmp_path), shapes(ADAMW).opt_state, name="adamw")


def test_files_of_other_programs_and_damaged_checkpoints_are_errors(tmp_path):
    abstract = shapes(NESTEROV).opt_state
    (tmp_path / "weights.safetensors").touch()
    for name in ("weights.safetensors", "missing", "."):
        with pytest.raises(
            UsageError, match="is not a run or a checkpoint of this program, and has no optimizer state"
        ):
            warm_start_optimizer(str(tmp_path / name), abstract, name="sgd")
    checkpoint(tmp_path, NESTEROV)
    (tmp_path / "checkpoints" / "7" / "meta" / "metadata").write_text("{}")
    with pytest.raises(UsageError, match=r"checkpoints/7 is damaged \(.*\): name another checkpoint"):
        warm_start_optimizer(str(tmp_path), abstract, name="sgd")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.init_optimizer": True}, "init_optimizer=True has no effect without config.model.init_from"),
        ({"model.init_from": "runs/a", "model.init_optimizer": True}, "set config.model.init_head=True$"),
    ],
)
def test_the_optimizer_state_needs_the_whole_network_of_a_run(changes, message):
    with pytest.raises(UsageError, match=message):
        build(changes)
