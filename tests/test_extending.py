"""Applies the diffs of docs/extending.md to a copy of the project, and runs the command below each."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.end_to_end.processes import environment
from tests.paths import ROOT

SECTIONS = re.findall(
    r"^## (.*?)$.*?```diff\n(.*?)\n```.*?```\n(.*?)\n```",
    (ROOT / "docs" / "extending.md").read_text(),
    re.DOTALL | re.M,
)
SHORT = [
    "--config.train.max_steps=2",
    "--config.data.image_size=32",
    "--config.data.batch_size=16",
    "--config.model.features=4",
    "--config.eval.every_epochs=99",
    "--config.log.every_steps=1",
    "--config.log.inputs=False",
    "--config.log.trackers=('csv',)",  # the tracker of the last addition
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with all of the diffs, each of which applies on its own too."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("resnet_jax", "configs", "main.py"):
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, copy / name, symlinks=True, ignore=ignored) if source.is_dir() else shutil.copy(
            source, copy
        )
    for title, diff, _ in SECTIONS:
        for check in (["--check"], []):
            command = ["git", "apply", *check, "-"]
            done = subprocess.run(command, cwd=copy, input=diff + "\n", text=True, capture_output=True, check=False)
            assert done.returncode == 0, f"{title}: {done.stderr}"
    return copy


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    for split in ("train", "eval"):
        pixels, labels = random.integers(0, 256, (64, 32, 32, 3), np.uint8), np.arange(64) % 2
        np.savez(tmp_path / f"{split}.npz", images=pixels, labels=labels, class_names=["even", "odd"])
    return tmp_path


def run(project, command, workdir, data_dir):
    words = shlex.split(command.replace("DIR", str(data_dir)))
    short = [flag for flag in SHORT if flag.partition("=")[0] not in command]  # a tuple given twice would be joined
    command = [sys.executable, *words[1:], *short, f"--workdir={workdir}"]
    return subprocess.run(command, cwd=project, env=environment(data_dir), capture_output=True, text=True, check=False)


def test_the_page_has_the_five_additions():
    kinds = ["A config key", "A model variant", "An optimizer", "A data source", "A writer of metrics"]
    assert [title for title, *_ in SECTIONS] == kinds


@pytest.mark.slow
@pytest.mark.parametrize(("title", "command"), [(title, command) for title, _, command in SECTIONS])
def test_the_command_below_a_diff_trains(title, command, project, images, tmp_path):
    workdir = tmp_path / "run"
    done = run(project, command, workdir, images)
    assert done.returncode == 0, f"{title}: {done.stderr}"
    assert json.loads((workdir / "result.json").read_text())["step"] == 2
    assert (workdir / "train.csv").read_text().count("\n") == 3  # the header and a row for each step


@pytest.mark.slow
def test_the_bound_of_the_new_key_is_checked(project, images, tmp_path):
    command = next(command for title, _, command in SECTIONS if title == "A config key")
    done = run(project, command.replace("=2.0", "=0.0"), tmp_path / "run", images)
    assert done.returncode == 2 and "config.loss.temperature=0.0 is out of range: it must be above 0" in done.stderr


def test_the_structure_still_holds(project):
    for path in ("tests", "pyproject.toml", "benchmarks", "docs"):
        if not (project / path).exists():
            (project / path).symlink_to(ROOT / path)
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "resnet_jax", "configs"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
