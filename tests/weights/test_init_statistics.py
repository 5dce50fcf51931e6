"""Warm start without the running statistics of batch norms, as in r1."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from resnet_jax import experiment
from resnet_jax.errors import UsageError
from resnet_jax.weights import warm_start
from resnet_jax.weights.class_outputs import Classes
from resnet_jax.weights.stored import StoredWeights
from tests.tiny import tiny_config


def started(monkeypatch, **options):
    """Returns the variables that start from weights of which every number is 7; others are None."""
    state = jax.eval_shape(experiment.build(tiny_config({}), devices=jax.devices()[:1]).computation.init)
    names = flatten_dict(state.variables, sep="/")
    arrays = {name: np.full(leaf.shape, 7, np.float32) for name, leaf in names.items()}
    stored = StoredWeights("/weights", "a test", arrays, {}, {}, (), {}, None)
    monkeypatch.setattr(warm_start, "read_weights", lambda path, kind: stored)
    common = {"head": False, "classes": Classes(()), "allow_missing": (), "settings": {}, "any_input": True}
    started = warm_start.warm_start_state("/weights", state, optimizer=None, **common, **options)
    leaves = flatten_dict(started.variables, sep="/")
    return {name: leaf if isinstance(leaf, np.ndarray) else None for name, leaf in leaves.items()}


def test_only_parameters_are_loaded_on_request(caplog, monkeypatch):
    # r1's WarmStartSettings covers trainable variables: its moving averages begin at 0 and 1.
    with caplog.at_level("INFO"):
        without = started(monkeypatch, statistics=False)
    assert "of batch norms are not loaded: means start at 0, variances at 1" in caplog.text
    for name, leaf in without.items():
        assert (leaf is not None) == (name.startswith("params/") and "/head/" not in name), name
    assert all(leaf is not None for name, leaf in started(monkeypatch).items() if "/head/" not in name)


def test_frozen_batch_norms_need_statistics():
    changes = {"model.init_from": "/weights", "model.init_statistics": False, "train.trainable": "head"}
    with pytest.raises(UsageError, match=r"frozen batch norms.*set config.train.freeze_statistics=False"):
        experiment.build(tiny_config(changes), devices=jax.devices()[:1])
