"""A run of the r1 recipe that began before keys existed which the recipe now sets, continues as it began."""

import json

import pytest

from resnet_jax import experiment
from resnet_jax.configs import resnet50_r1
from resnet_jax.errors import UsageError
from resnet_jax.nested import flatten
from resnet_jax.old_settings import ADDED
from resnet_jax.reporting.workdir import Workdir


@pytest.fixture
def workdir(tmp_path):
    """Returns the work directory of a run of the r1 recipe of an earlier version."""
    config = resnet50_r1.get_config()
    settings = experiment.resolve(config)
    for key in ADDED:
        section, name = key.split(".")
        del settings[section][name]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    return Workdir(tmp_path)


def test_it_continues_as_it_began(workdir, caplog):
    config = resnet50_r1.get_config()
    options = {"may_change": experiment.MAY_CHANGE, "defaults": experiment.default_settings()}
    with pytest.raises(UsageError, match=r"data.fast_dct: False there, True here"):
        workdir.check(experiment.resolve(config), **options)
    with caplog.at_level("INFO"):
        begun = experiment.as_begun(config, workdir.keys_added_since())
    workdir.check(experiment.resolve(begun), **options)
    values = flatten(begun.to_dict())
    assert (values["data.fast_dct"], values["data.flip_before_resize"]) == (False, False)
    assert config.data.fast_dct and "data.fast_dct is False, because it did not exist" in caplog.text


def test_a_new_run_has_the_keys_of_the_recipe(tmp_path, workdir):
    assert Workdir(tmp_path / "new").keys_added_since() == ()
    (workdir.path / "config.json").write_text(json.dumps(experiment.resolve(resnet50_r1.get_config())))
    assert workdir.keys_added_since() == ()
