"""Random weights for tests of programs that use trained ones."""

import jax
import numpy as np

from resnet_jax import experiment
from resnet_jax.checkpoints.checksums import sha256_of_arrays
from resnet_jax.weights.select import SelectedWeights
from tests.tiny import tiny_config


def untrained(changes=None, *, dtype=None, num_classes=10, devices=None):
    """Returns a network, and random weights with which different images give different outputs."""
    inference = experiment.build_inference(tiny_config(changes), num_classes=num_classes, dtype=dtype, devices=devices)
    rng = np.random.default_rng(0)

    def sample(path, leaf):
        name = path[-1].key
        if name == "kernel":
            return rng.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape).astype(leaf.dtype)
        return rng.uniform(*((0.5, 1.5) if name in ("scale", "var") else (-0.2, 0.2)), leaf.shape).astype(leaf.dtype)

    variables = jax.tree_util.tree_map_with_path(sample, inference.shapes)
    selected = SelectedWeights(variables, "weights", 4, "trained", sha256_of_arrays(variables), None)
    return inference, selected
