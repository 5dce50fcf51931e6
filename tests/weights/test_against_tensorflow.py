"""Checkpoints of r1's networks that TensorFlow writes give the same logits here."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.models.networks import CIFAR, R1, evaluation_logits, initialize, network, shapes_of_variables
from tests.models.r1_variables import by_r1_name

pytestmark = pytest.mark.slow

# Name -> family, depth, version of r1, image size, classes.
CASES = {
    "imagenet50v1": ("imagenet", 50, 1, 64, 1001),
    "imagenet18v2": ("imagenet", 18, 2, 64, 1001),
    "cifar20v1": ("cifar", 20, 1, 32, 10),
    "cifar20v2": ("cifar", 20, 2, 32, 10),
}
# Program that reads checkpoints in a process of its own, and writes their arrays and attributes.
READ = """
import json, sys, numpy as np
from resnet_jax.errors import UsageError
from resnet_jax.weights import read_weights
for path, out in json.loads(sys.stdin.read()).items():
    try:
        stored = read_weights(path)
    except UsageError as error:
        print(json.dumps({"error": str(error)}))
        continue
    np.savez(out, **stored.arrays)
    print(json.dumps({"settings": stored.settings, "unknown": stored.unknown, "skipped": stored.skipped,
                      "path": stored.path, "format": stored.format, "background": stored.has_background}))
"""


def our_network(name, **changes):
    family, size, version, _, classes = CASES[name]
    options = (CIFAR if family == "cifar" else {}) | R1 | {"num_classes": classes} | changes
    return network(depth=size, version={1: "v1.5", 2: "v2"}[version], **options)


def random_variables(name, images):
    """Returns random scales, biases and statistics; small scales in branches keep the logits moderate."""
    rng = np.random.default_rng(1)
    variables = jax.tree.map(np.array, initialize(our_network(name), images))
    for path, leaf in jax.tree.leaves_with_path(variables):
        kind, last = path[-1].key, path[-2].key in ("bn3", "bn2")
        if kind in ("scale", "var"):
            leaf[:] = rng.uniform(0.5, 1.5, leaf.shape) * (0.3 if kind == "scale" and last else 1.0)
        elif kind in ("bias", "mean"):
            leaf[:] = rng.normal(0, 0.2, leaf.shape)
    return variables


def read_all(paths, directory):
    """Reads checkpoints in one process; returns their arrays and attributes."""
    outs = {str(path): str(directory / f"read{number}.npz") for number, path in enumerate(paths)}
    done = subprocess.run(
        [sys.executable, "-c", READ], input=json.dumps(outs), text=True, check=True, capture_output=True
    )
    said = map(json.loads, done.stdout.splitlines())
    return [
        (said if "error" in said else dict(np.load(out)), said) for out, said in zip(outs.values(), said, strict=True)
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Returns a directory of checkpoints, and the variables and images by name."""
    directory, given = tmp_path_factory.mktemp("r1"), {}
    cases = {}
    for name, (family, size, version, pixels, classes) in CASES.items():
        images = np.random.default_rng(0).normal(size=(2, pixels, pixels, 3)).astype(np.float32)
        given[name] = random_variables(name, images), images
        cases[name] = {"cifar": family == "cifar", "size": size, "version": version, "classes": classes}
        np.savez(directory / f"{name}.npz", images=images, **by_r1_name(given[name][0], version))
    (directory / "cases.json").write_text(json.dumps(cases))
    command = [sys.executable, "-m", "tests.models.tensorflow_r1", "forward", "save", str(directory)]
    subprocess.run(command, check=True, capture_output=True)
    return directory, given


@pytest.fixture(scope="module")
def read(written, tmp_path_factory):
    """Returns the arrays and attributes of the checkpoints, by path."""
    paths = []
    for name in CASES:
        v1, v2, saved = (written[0] / f"{name}-{kind}" for kind in ("v1", "v2", "saved"))
        paths += [v1, v1 / "model.ckpt-7", v2, v2 / "model.ckpt-7", v2 / "model.ckpt-7.index", saved]
    return dict(zip(paths, read_all(paths, tmp_path_factory.mktemp("read")), strict=True))


def test_the_variables_are_those_of_tensorflow(written, read):
    _, given = written
    for path, (arrays, said) in read.items():
        name = next(name for name in CASES if name in str(path))
        family, size, version, _, _ = CASES[name]
        assert said["unknown"] == [] and said["background"] == (family == "imagenet")
        if "saved" not in path.name:
            assert said["skipped"]["global_step"] == "a counter"
            assert said["skipped"]["resnet_model/dense/kernel/Momentum"] == "a variable of the optimizer"
            assert said["skipped"]["loss_scale"] == "a variable of the loss scale"
        expected_settings = {"model.depth": size, "model.version": "v2" if version == 2 else "v1.5"}
        assert said["settings"].items() >= (expected_settings | {"model.padding": "tf"}).items()
        variables = flatten_dict(given[name][0], sep="/")
        assert arrays.keys() == variables.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, variables[key], err_msg=key)


@pytest.mark.parametrize(
    ("name", "reduced"), [*((name, False) for name in CASES), *((name, True) for name in CASES if "imagenet" in name)]
)
def test_logits_with_all_classes_and_without_the_background(written, read, name, reduced):
    from resnet_jax.weights import StoredWeights, match_variables

    directory, given = written
    classes, images = CASES[name][4] - reduced, given[name][1]
    arrays, said = read[directory / f"{name}-v2"]
    stored = StoredWeights(
        said["path"],
        said["format"],
        arrays,
        {},
        {},
        (),
        said["settings"],
        has_background=said["background"],
    )
    options = {key.removeprefix("model."): value for key, value in said["settings"].items() if key.startswith("model.")}
    model = network(**options | {"num_classes": classes})
    shapes = shapes_of_variables(model, images.shape[1])
    filled = match_variables(stored, shapes, head=True, allow_missing=())
    logits = evaluation_logits(model, filled.variables, images)
    with np.load(directory / f"{name}.out.npz") as file:
        expected = file["evaluation"][:, int(reduced) :]
    print(f"{name}, {classes} classes: {abs(logits - expected).max():.1e} of {abs(expected).max():.1f}")
    assert 0.1 < abs(expected).max() < 50
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
    assert any("1,001 -> 1,000 classes" in line for line in filled.report) == reduced


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("share", [0, 2])
def test_damage_is_one_line(written, tmp_path, suffix, share):
    directory, _ = written
    for name in ("cifar20v1-v1", "cifar20v1-v2"):
        (tmp_path / name).mkdir()
        for file in (directory / name).iterdir():
            content = file.read_bytes()
            cut = content[: len(content) // 2 * (share > 0)]
            damaged = file.name.endswith(suffix) or file.name == "model.ckpt-7"
            (tmp_path / name / file.name).write_bytes(cut if damaged else content)
    for _, said in read_all([tmp_path / "cifar20v1-v1" / "model.ckpt-7", tmp_path / "cifar20v1-v2"], tmp_path):
        assert "\n" not in said["error"] and "model.ckpt-7" in said["error"]
