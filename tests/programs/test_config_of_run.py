import json
import re

import pytest

from resnet_jax import experiment
from resnet_jax.configs import default, digits, run
from resnet_jax.programs import command_line, recipes


def write(path, settings):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(settings))


def test_the_config_of_a_run_is_what_it_was_started_with(tmp_path):
    config = digits.get_config()
    config.data.progressive.sizes, config.optimizer.lr_scales = (8, 12), (("^head/", 10.0),)
    config.model.num_classes, config.train.trainable = 12, "head"
    write(tmp_path, experiment.resolve(config))
    again = run.get_config(str(tmp_path))
    assert experiment.resolve(again) == experiment.resolve(config)
    assert again.optimizer.lr_scales == (("^head/", 10.0),) and again.is_locked


def test_keys_that_an_earlier_run_lacks_have_their_defaults(tmp_path):
    settings = experiment.resolve(digits.get_config())
    del settings["export"], settings["train"]["freeze_statistics"]
    write(tmp_path, settings)
    assert run.get_config(str(tmp_path)).export.dtype == default.get_config().export.dtype


@pytest.mark.parametrize("form", ["{}", "{}/config.json"])
def test_an_existing_run_is_named_by_its_directory_or_its_config_file(tmp_path, form):
    config = digits.get_config()
    config.train.max_steps = 7
    write(tmp_path / "first", experiment.resolve(config))
    loaded = command_line._load(form.format(tmp_path / "first"))
    assert experiment.resolve(loaded) == experiment.resolve(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"config.json is not the config of a run \(it is not JSON: .*\): give the work directory of a run"),
        (b"\xff\xfe", r"is not the config of a run \(it is not JSON: .*\): give"),
        (b"[1]", r"is not the config of a run \(it is not a JSON object\): give"),
        (b"[" * 100_000, r"is not the config of a run \(.*\): give"),
        (b'{"architectures": []}', r'is not the config of a run \(Key "architectures" does not exist.*locked\): give'),
        (b'{"seed": "many"}', r"is not the config of a run \(Could not override field 'seed'.*\): give"),
        (b'{"data": 3}', r"is not the config of a run \(.*\): give"),
        (None, "config.json does not exist: give the work directory of a run, or the config.json in it"),
    ],
)
def test_a_missing_or_damaged_config_of_a_run_is_an_error_of_one_line(tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    for value in (tmp_path, tmp_path / "config.json"):
        with pytest.raises(SystemExit) as ended:
            command_line._load(str(value))
        (line,) = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2 and re.search(message, line) and line.startswith(f"error: {tmp_path}")
        assert len(line) < 400


def test_a_work_directory_without_config_flag_uses_its_own_config(tmp_path):
    write(tmp_path, {})
    found = command_line._with_config_of_run(["main.py", f"--workdir={tmp_path}", "--mode=predict", "a.jpg"])
    assert found[1] == f"--config={recipes.RUN}:{tmp_path}" and found[2:] == [
        f"--workdir={tmp_path}",
        "--mode=predict",
        "a.jpg",
    ]
    for argv in (
        ["main.py", f"--workdir={tmp_path}", "--config=configs/digits.py"],
        ["main.py", f"--workdir={tmp_path / 'none'}"],
        ["main.py"],
    ):
        assert command_line._with_config_of_run(argv) == argv
