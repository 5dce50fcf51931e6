"""The wheel, installed into an environment of its own and used from an empty directory without a checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from resnet_jax.programs.recipes import recipes
from tests.paths import ROOT

pytestmark = pytest.mark.slow

TINY = [
    "--config.data.image_size=12",
    "--config.data.batch_size=48",
    "--config.model.features=4",
    "--config.log.inputs=False",
    "--config.log.trackers=()",
]
SHORT = ["--config.train.total_steps=40", "--config.eval.every_steps=20", *TINY]


def call(*words, cwd, **variables):
    """Runs a command to its end without PYTHONPATH; returns the completed process with its output as text."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"JAX_NUM_CPU_DEVICES": "1"} | variables
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def build_wheel(source, target):
    """Builds the wheel of a directory or an sdist."""
    done = call(
        *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--quiet", "--disable-pip-version-check", "--wheel-dir", target, source),
        cwd=target,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the package is built from; the link resnet_jax/configs stays a link."""
    copy = tmp_path_factory.mktemp("source") / "checkout"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("configs", "resnet_jax"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The `bin` of an environment with the wheel. Dependencies are those of this one, without its link to the checkout.

    Of a directory that a .pth file names, Python does not read the .pth files, so not that of the editable install.
    """
    root = tmp_path_factory.mktemp("environment")
    assert call(sys.executable, "-m", "venv", "--without-pip", root, cwd=root).returncode == 0
    python = root / "bin" / "python"
    install = ("pip", f"--python={python}", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    done = call(sys.executable, "-m", *install, "--no-index", wheel, cwd=root)
    assert done.returncode == 0, done.stderr
    (site,) = root.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return root / "bin"


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory):
    """The directory in which the demo was run from the wheel, shortened, and the output."""
    directory = tmp_path_factory.mktemp("empty")
    done = call(environment / "resnet-jax", "--config=digits", *SHORT, cwd=directory, JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr
    return directory, done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_every_recipe(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = call("git", "ls-files", "resnet_jax", "configs", cwd=ROOT)
    files = [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file()]
    files = files or [path.relative_to(ROOT) for path in (ROOT / "resnet_jax").rglob("*.py")]  # without git
    expected = {str(Path("resnet_jax", path) if path.parts[0] == "configs" else path) for path in files}
    assert expected - names == set()
    assert {f"resnet_jax/configs/{name}.py" for name, _ in recipes()} <= names
    assert {"resnet_jax/py.typed", "resnet_jax/data/datasets/digits/digits.csv.gz"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"resnet_jax", "resnet_jax_trainer"}


def test_the_source_distribution_builds_the_same_wheel(source, wheel, tmp_path):
    build = f"import setuptools.build_meta as backend; backend.build_sdist({str(tmp_path)!r})"
    done = call(sys.executable, "-c", build, cwd=source)
    assert done.returncode == 0, done.stderr
    (sdist,) = tmp_path.glob("*.tar.gz")
    (tmp_path / "again").mkdir()
    again = zipfile.ZipFile(build_wheel(sdist, tmp_path / "again"))
    first = zipfile.ZipFile(wheel)
    assert set(again.namelist()) == set(first.namelist())
    modules = [name for name in first.namelist() if name.startswith("resnet_jax/")]
    assert all(again.read(name) == first.read(name) for name in modules)


def test_no_checkout_is_imported(environment, tmp_path):
    program = (
        "import importlib.util as u, importlib.metadata as m, resnet_jax, resnet_jax.configs as c;"
        "print(resnet_jax.__file__, c.__file__, u.find_spec('configs'), m.version('resnet-jax-trainer'), sep='\\n')"
    )
    done = call(environment / "python", "-c", program, cwd=tmp_path)
    package, recipe_folder, outside, version = done.stdout.splitlines()
    for file in (package, recipe_folder):
        assert Path(file).is_relative_to(environment.parent) and not Path(file).parent.is_symlink()
    assert outside == "None"
    assert version == json.loads(call(environment / "python", "-c", VERSIONS, cwd=tmp_path).stdout)["resnet_jax"]


VERSIONS = "import json; from resnet_jax.reporting.provenance import versions; print(json.dumps(versions()))"


def test_the_demo_trains(trained):
    directory, output = trained
    assert [path.name for path in directory.iterdir()] == ["runs"]
    result = json.loads((directory / "runs" / "digits" / "result.json").read_text())
    assert (result["step"], result["stop_reason"]) == (40, "completed")
    assert "Finished" in output
    (start,) = json.loads((directory / "runs" / "digits" / "run.json").read_text())["starts"]
    assert start["git_commit"] is None


def test_the_run_goes_on_from_its_work_directory_alone(environment, trained):
    directory, _ = trained
    module = (environment / "python", "-m", "resnet_jax", "--workdir=runs/digits")
    done = call(*module, cwd=directory, JAX_PLATFORMS="cpu")
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        0,
        "Nothing to do: this run is finished, step 40 of 40.",
    )
    done = call(*module, "--mode=eval", "--config.eval.checkpoint=best", cwd=directory, JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr


def test_a_recipe_takes_its_argument_and_a_path_still_works(environment, tmp_path):
    program = environment / "resnet-jax"
    done = call(program, "--config=resnet50_fast:17", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error: config file resnet50_fast: '17' is not one of 16, 18, 24, 32, 40, 56, 88 epochs\n",
    )
    (tmp_path / "mine.py").write_text(
        "from resnet_jax.configs import digits\n\n\ndef get_config():\n"
        "    config = digits.get_config()\n    config.train.total_steps = 2\n    return config\n"
    )
    done = call(program, "--config=mine.py", *TINY, cwd=tmp_path, JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "runs" / "mine" / "result.json").read_text())["step"] == 2
    done = call(program, "--config=configs/digits.py", cwd=tmp_path)
    assert done.returncode == 2 and "config file configs/digits.py does not exist: " in done.stderr


def test_a_mode_that_starts_the_program_again_finds_it(environment, tmp_path):
    words = ("--config=digits", "--mode=benchmark", "--config.benchmark.parts=('first_step',)", *TINY)
    done = call(environment / "resnet-jax", *words, cwd=tmp_path, JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr
    assert "first step" in done.stdout


def test_flags_of_r1_become_a_command_of_the_wheel(environment, tmp_path):
    done = call(environment / "resnet-jax-r1", "cifar10_main.py", "--data_dir=d", cwd=tmp_path)
    expected = "resnet-jax --config=cifar10_r1 --config.data.data_dir=d --config.schedule.images_per_epoch=50000"
    assert done.stdout.splitlines()[0] == expected
