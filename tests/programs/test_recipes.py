import importlib

import pytest

from resnet_jax.configs import digits
from resnet_jax.programs import command_line, recipes
from tests.paths import ROOT

NAMES = [name for name, _ in recipes.recipes()]


def test_every_file_of_configs_is_a_recipe_but_three():
    assert {*NAMES, "__init__", "default", "mode_keys", "run"} == {
        path.stem for path in (ROOT / "configs").glob("*.py")
    }


@pytest.mark.parametrize(("name", "summary"), recipes.recipes())
def test_a_recipe_says_source_command_data_hardware_accuracy_and_status(name, summary):
    doc = importlib.import_module(f"resnet_jax.configs.{name}").__doc__
    assert doc.startswith(summary) and summary.endswith(".") and len(summary) < 117
    words = ["Command:", "Data:", "Hardware:", "Expected:", "Status:"]
    assert [word for word in words if f"\n{word} " not in doc] == []
    assert f"--config=configs/{name}.py" in doc


def test_a_recipe_is_found_by_name_from_anywhere_and_a_file_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").touch()
    file, argument = recipes.locate("digits")
    assert file.samefile(ROOT / "configs" / "digits.py") and argument == []
    for path in ("./digits", "configs/digits.py", "digits.py", "nothing", "/a/b.py", ""):
        assert recipes.locate(path) == (recipes.Path(path), [])
        assert recipes.locate(f"{path}:32") == (recipes.Path(path), ["32"])


def test_a_directory_or_a_json_file_is_an_existing_run_unless_a_recipe_has_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "first", "a:b"):
        (tmp_path / name).mkdir()
    for run in ("first", "./first", str(tmp_path / "first"), "a:b", "first/config.json", "missing/config.json"):
        assert recipes.locate(run) == (recipes.RUN, [run])
    assert recipes.locate("digits")[0] != recipes.RUN and recipes.locate("digits:3")[1] == ["3"]


@pytest.mark.parametrize(
    "words", [["--config=resnet50_fast:18"], ["--config", "resnet50_fast:18"], ["-config=resnet50_fast:18"]]
)
def test_the_flag_gets_the_file_of_a_recipe(words):
    located = command_line._with_config_files(["main.py", *words, "--config.seed=3"])
    file = recipes.FOLDER / "resnet50_fast.py"
    assert " ".join(located).replace("=", " ").split()[1:3] == ["--config", f"{file}:18"]
    assert located[-1] == "--config.seed=3"
    assert command_line._load("resnet50_fast:18").train.epochs == 18


def test_an_unknown_recipe_is_an_error_that_lists_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        command_line._load("resnet51")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: config file resnet51 does not exist: ") and ", ".join(NAMES) in error


def test_the_command_of_a_recipe_in_a_checkout_and_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert recipes.command("digits") == ["python", "main.py", "--config=configs/digits.py"]
    monkeypatch.chdir(tmp_path)
    assert recipes.command("digits") == ["resnet-jax", "--config=digits"]


def test_a_file_of_ones_own_may_import_the_defaults_either_way(tmp_path):
    for package in ("configs", "resnet_jax.configs"):
        file = tmp_path / f"{package}.py"
        file.write_text(f"from {package} import digits\nget_config = digits.get_config\n")
        assert command_line._load(str(file)) == digits.get_config()


def test_a_mistake_in_the_argument_names_the_recipe_as_typed(capsys):
    for typed, shown in (("photos:17", "photos"), (f"{recipes.FOLDER / 'photos.py'}:17", "photos")):
        with pytest.raises(SystemExit):
            command_line._load(typed)
        assert capsys.readouterr().err == (
            f"error: config file {shown}: '17' is not one of the sizes small, medium, large\n"
        )
