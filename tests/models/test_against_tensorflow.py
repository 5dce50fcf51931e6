"""Our networks against an independent implementation, TensorFlow's r1, with the same weights and images."""

import functools
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests import paths
from tests.models.networks import CIFAR, R1, evaluation_logits, network
from tests.models.networks import random_variables as random_kernels
from tests.models.r1_variables import by_r1_name

pytestmark = pytest.mark.slow

GOLDEN = paths.GOLDEN / "variables_r1.json"
# Family, size, version of r1, image size in pixels: sizes that are halved evenly and unevenly.
CASES = [
    ("imagenet", 18, 1, 96),
    ("imagenet", 18, 2, 75),
    ("imagenet", 50, 1, 75),
    ("imagenet", 50, 2, 96),
    ("cifar", 20, 1, 32),
    ("cifar", 32, 2, 32),
]
NAMES = [f"{family} {size} {version} {pixels}" for family, size, version, pixels in CASES]
CLASSES = 11


def our_network(name, **changes):
    family, size, version, _ = name.split()
    options = (CIFAR if family == "cifar" else {}) | R1 | {"num_classes": CLASSES} | changes
    return network(depth=int(size), version={"1": "v1.5", "2": "v2"}[version], **options)


def images(name, *, seed):
    pixels = int(name.split()[-1])
    return np.random.default_rng(seed).normal(size=(4, pixels, pixels, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def train(model, variables, x):
    return model.apply(variables, x, train=True, mutable=["batch_stats"])


def batch_statistics(before, after):
    """Returns the statistics of a batch from the moving ones before and after it."""
    weight = 1 - R1["bn_momentum"]
    return jax.tree.map(lambda old, new: np.float32((new - (1 - weight) * np.float64(old)) / weight), before, after)


@functools.cache
def random_variables(name):
    """Variables with random scales and biases, and with the statistics of other images, so that logits are moderate.

    The last scale of each branch is small, as after training. With large ones a ResNet-50 with random weights maps all
    images to nearly the same logits, and float32 rounding alone reaches 1e-4, in TensorFlow as here.
    """
    rng = np.random.default_rng(1)
    variables = random_kernels(our_network(name), images(name, seed=0))
    for path, leaf in jax.tree.leaves_with_path(variables["params"]):
        if path[-1].key == "scale":
            leaf[:] = rng.uniform(0.5, 1.5, leaf.shape) * (0.3 if path[-2].key == "bn3" else 1.0)
        elif path[-1].key == "bias":
            leaf[:] = rng.normal(0, 0.2, leaf.shape)
    _, after = train(our_network(name), variables, images(name, seed=2))
    return {"params": variables["params"], **batch_statistics({"batch_stats": variables["batch_stats"]}, after)}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A directory with our variables by r1's names, TensorFlow's outputs for them, and its own variables."""
    directory = tmp_path_factory.mktemp("r1")
    cases = {}
    for name, (family, size, version, _) in zip(NAMES, CASES, strict=True):
        cases[name] = {"cifar": family == "cifar", "size": size, "version": version, "classes": CLASSES}
        np.savez(directory / f"{name}.npz", images=images(name, seed=0), **by_r1_name(random_variables(name), version))
    (directory / "cases.json").write_text(json.dumps(cases))
    command = [sys.executable, "-m", "tests.models.tensorflow_r1", "forward", "variables", str(directory)]
    subprocess.run(command, check=True, capture_output=True)
    return directory


@pytest.mark.parametrize("name", NAMES)
def test_forward_pass(reference, name):
    version, variables, x = int(name.split()[2]), random_variables(name), images(name, seed=0)
    with np.load(reference / f"{name}.out.npz") as file:
        expected = dict(file)
    model = our_network(name)
    evaluation = evaluation_logits(model, variables, x)
    training, statistics = train(model, variables, x)
    for kind, logits in (("evaluation", evaluation), ("training", training)):
        assert 0.5 < abs(expected[kind]).max() < 50
        print(f"{name}, {kind}: {abs(logits - expected[kind]).max():.1e} of {abs(expected[kind]).max():.1f}")
        np.testing.assert_allclose(logits, expected[kind], rtol=0, atol=1e-4)
    moving = by_r1_name({"params": variables["params"], **statistics}, version)
    before = by_r1_name(variables, version)
    changing = [variable for variable in moving if "moving" in variable]
    assert set(changing) == expected.keys() - {"evaluation", "training"}
    for variable in changing:
        # The tolerance is a small part of the update: enough to tell the unbiased variance from the biased one.
        change = abs(expected[variable] - before[variable]).max()
        np.testing.assert_allclose(
            moving[variable], expected[variable], rtol=1e-6, atol=1e-3 * change, err_msg=variable
        )


def test_the_golden_variables_are_those_of_the_installed_tensorflow(reference):
    assert json.loads((reference / GOLDEN.name).read_text()) == json.loads(GOLDEN.read_text())
