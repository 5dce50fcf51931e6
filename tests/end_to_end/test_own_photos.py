"""Runs the commands of docs/own_photos.md as they are, in their order, with a smaller network and fewer epochs."""

import re
import shlex
import subprocess
import sys

import pytest

from tests import paths
from tests.end_to_end import processes

PAGE = paths.ROOT / "docs" / "own_photos.md"
SMALLER = {
    "data.image_size": 32,
    "model.name": "resnet_cifar",
    "model.depth": 8,
    "model.features": 8,
    "train.epochs": 2,
}


def commands():
    """Returns the commands of the page, in order, each as a list of words."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def smaller(words):
    """Adds keys to a command with a recipe, so that it takes seconds; the last of two equal flags counts."""
    if not any(word.startswith("--config=configs/") for word in words):
        return words
    return [*words, *(f"--config.{key}={value}" for key, value in SMALLER.items())]


def run(words, directory, environment):
    """Runs a command that begins with 'python'; returns what it wrote to stdout."""
    command = [sys.executable, *words[1:]]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def export_pretrained(directory, environment):
    """Writes resnet50.safetensors, with a network that the smaller commands can load: that of the first run."""
    words = "python main.py --workdir=runs/first --mode=export --config.export.dir=pretrained"
    run([*words.split(), "--config.export.formats=('safetensors',)"], directory, environment)
    (directory / "pretrained" / "model.safetensors").rename(directory / "resnet50.safetensors")


def test_the_page_trains_judges_predicts_and_exports():
    modes = [re.search(r"--mode=(\w+)", " ".join(words)) for words in commands()]
    assert {mode[1] for mode in modes if mode} == {"show", "eval", "predict", "export"}
    assert sum(mode is None for mode in modes) == 7  # draws images twice, trains four runs, shows the way on


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path):
    for name in ("main.py", "configs", "resnet_jax", "benchmarks"):
        (tmp_path / name).symlink_to(paths.ROOT / name)
    environment = processes.environment(tmp_path) | {"PYTHONPATH": str(paths.ROOT)}
    output = {}
    for words in commands():
        if "--config.model.init_from=resnet50.safetensors" in words:
            export_pretrained(tmp_path, environment)
        output[" ".join(words)] = run(smaller(words), tmp_path, environment)
    for file in ("inputs.png", "report.png", "metrics.jsonl", "train.log", "result.json"):
        assert (tmp_path / "runs" / "first" / file).exists()
    assert list(tmp_path.glob("runs/first/evaluations/*/confusion.png"))
    exported = {path.name for path in (tmp_path / "export").iterdir()}
    assert {"model.jax", "model.safetensors", "model.json"} <= exported
    [predictions] = [text for words, text in output.items() if "--mode=predict" in words]
    assert len(predictions.splitlines()) >= 91  # one circle and ninety crosses
    [way_on] = [text for words, text in output.items() if words == "python main.py --workdir=runs/first"]
    assert "--config.model.init_from=runs/first" in way_on and "--config.model.init_optimizer=True" in way_on
