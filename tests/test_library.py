"""The names of `import resnet_jax as rj`, and the programs of docs/library.md as they are."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import resnet_jax as rj
from tests.paths import ROOT
from tests.weights.state_dicts import state_dict

PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), re.DOTALL)


def run(program: str, directory: Path) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def top1(line: str) -> float:
    return float(re.search(r"'top1': ([\d.]+)", line)[1])


def test_a_loop_of_ones_own_trains_a_recipe_and_continues(tmp_path):
    # The schedule is that of the whole training, so both processes compile the same programs.
    lines = run(PROGRAMS[0].replace("run.milestones.total_steps", "22"), tmp_path).splitlines()
    assert lines[0].startswith("20 {'loss': ") and lines[-1].startswith("evaluation {'loss': ")
    assert (tmp_path / "my_run" / "22").is_dir()
    more = run(PROGRAMS[0], tmp_path).splitlines()
    assert more[0].startswith("40 ") and top1(more[-1]) > 0.3, more[-1]


def test_pretrained_weights_in_five_lines(tmp_path):
    lines = PROGRAMS[1].strip().splitlines()
    assert len([line for line in lines if line]) == 4
    arrays = {
        name: np.asarray(abs(array)) for name, array in state_dict({"model.features": 64}).items()
    }  # variances too
    save_file(arrays, tmp_path / "resnet18.safetensors")
    images = "import numpy as np\nimages = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)\n"
    printed = run(images + PROGRAMS[1] + "print(logits.shape, bool((logits == logits).all()))", tmp_path)
    assert printed == "(2, 10) True\n"


def test_a_source_of_ones_own_is_learned_without_a_config(tmp_path):
    assert len([line for line in PROGRAMS[2].splitlines() if line.strip()]) <= 32
    assert top1(run(PROGRAMS[2], tmp_path)) > 0.9


def test_every_public_name_is_there_and_typed():
    names = set(rj._HOMES)
    listed = set(re.findall(r"from resnet_jax\.[\w.]+ import (?:\w+) as (\w+)", inspect.getsource(rj)))
    assert names == listed, "the names for type checkers and those that are loaded differ"
    page = (ROOT / "docs" / "library.md").read_text()
    for name in names:
        assert getattr(rj, name) is not None and re.search(rf"`(rj\.)?{name}\b", page), name
    assert names <= set(dir(rj)) and (ROOT / "resnet_jax" / "py.typed").exists()


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(AttributeError, match="no attribute 'creat_model'; it has .*create_model"):
        _ = rj.creat_model
    with pytest.raises(rj.UsageError, match=r"'digit' is not a recipe: the recipes are .*digits"):
        rj.get_recipe("digit")


@pytest.mark.parametrize(
    ("create", "section", "own"),
    [
        ("create_model", "model", {"num_classes": 1000}),
        ("create_optimizer", "optimizer", {}),
        ("create_loss", "loss", {}),
        ("create_train_crop", "data.train_crop", {"size": 224}),
        ("create_eval_crop", "data.eval_crop", {"size": 224}),
    ],
)
def test_defaults_are_those_of_the_main_recipe(create, section, own):
    config = rj.get_recipe("resnet50")
    for name in section.split("."):
        config = config[name]
    for name, parameter in inspect.signature(getattr(rj, create)).parameters.items():
        if name in own or name in config:
            assert parameter.default == own.get(name, config.get(name)), name


def test_main_recipe_of_the_loader():
    config = rj.get_recipe("resnet50")
    loader = rj.Loader([1], batch_size=config.data.batch_size)  # anything with a length
    assert (loader.crop_stages.at(0).area, loader.image_sizes) == (tuple(config.data.train_crop.area), (224,))
    defaults = {name: parameter.default for name, parameter in inspect.signature(rj.Loader).parameters.items()}
    assert defaults["batch_size"] == config.data.batch_size and defaults["resize"] == config.data.resize
    pixels = np.full((1, 2, 2, 3), 124, np.uint8)
    expected = (124 - np.asarray(config.input.mean)) / np.asarray(config.input.std)
    assert np.asarray(jax.jit(rj.imagenet_input)(pixels))[0, 0, 0] == pytest.approx(expected, rel=1e-5)
