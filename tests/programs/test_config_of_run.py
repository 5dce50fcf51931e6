import json

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


@pytest.mark.parametrize("content", ["{", None])
def test_a_missing_or_damaged_config_of_a_run_is_an_error(tmp_path, content):
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="is not the config of a run"):
        run.get_config(str(tmp_path))


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
