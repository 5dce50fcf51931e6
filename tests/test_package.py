"""What an installation needs: one version, scripts that exist, recipes inside of the package."""

import importlib
import inspect
import re
import tomllib

import resnet_jax
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_there_is_one_version():
    (cited,) = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    assert cited == resnet_jax.__version__
    assert PROJECT["dynamic"] == ["version"]


def test_the_name_is_not_that_of_the_other_project():
    assert PROJECT["name"] not in ("resnet-jax", "resnet_jax")


def test_every_console_script_is_a_function_without_arguments():
    assert set(PROJECT["scripts"]) == {"resnet-jax", "resnet-jax-r1"}
    for target in PROJECT["scripts"].values():
        module, _, name = target.partition(":")
        assert not inspect.signature(getattr(importlib.import_module(module), name)).parameters


def test_recipes_are_part_of_the_package_by_a_link_that_works_in_any_copy():
    assert str((ROOT / "resnet_jax" / "configs").readlink()) == "../configs"


def test_the_supported_pythons_are_listed():
    lowest, above = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    listed = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    assert listed == {f"3.{minor}" for minor in range(int(lowest), int(above))}
