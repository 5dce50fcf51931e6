"""Number, order and shapes of our variables against those of r1's networks, for every size and version."""

import json

import jax
import pytest

from resnet_jax.training.state import parameter_count
from tests import paths
from tests.models.networks import CIFAR, R1, network, shapes_of_variables
from tests.models.r1_variables import by_r1_name, kind, layers

GOLDEN = json.loads((paths.GOLDEN / "variables_r1.json").read_text())  # written by tensorflow_r1.py

SMALL = ("18", "50", "20")  # the others have the same blocks more often; `test_parameter_counts.py` counts their blocks
NAMES = [pytest.param(name, marks=[] if name.split()[1] in SMALL else [pytest.mark.slow]) for name in GOLDEN]


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_of_r1_is_one_of_ours(name):
    family, size, version = name.split()
    family_options = CIFAR if family == "cifar" else {"num_classes": 1001}
    model = network(depth=int(size), version={"1": "v1.5", "2": "v2"}[version], **(R1 | family_options))
    variables = shapes_of_variables(model, 32)
    named = by_r1_name(variables, int(version))
    assert len(named) == len(jax.tree.leaves(variables)) == GOLDEN[name]["variables"]
    assert parameter_count(variables["params"]) == GOLDEN[name]["parameters"]
    shapes = []
    for path in layers(variables["params"], int(version)):
        arrays = variables["params"]
        for key in path:
            arrays = arrays[key]
        shapes.append(arrays["scale" if kind(path) == "batch_normalization" else "kernel"].shape)
    assert " ".join("x".join(map(str, shape)) for shape in shapes) == GOLDEN[name]["layers"]
