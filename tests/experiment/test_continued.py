"""Work directories of earlier versions continue; `digits_config_44ea751.json` is the config of a run of that commit."""

import json
import shutil

import pytest

from resnet_jax import experiment
from resnet_jax.configs import run
from resnet_jax.errors import UsageError
from resnet_jax.reporting.workdir import Workdir
from tests.paths import GOLDEN


@pytest.fixture
def workdir(tmp_path):
    """The work directory of a run of that commit that was stopped at step 10."""
    (tmp_path / "run" / "checkpoints" / "10").mkdir(parents=True)
    shutil.copy(GOLDEN / "digits_config_44ea751.json", tmp_path / "run" / "config.json")
    return Workdir(tmp_path / "run")


def check(workdir, changes, may_change=experiment.MAY_CHANGE):
    """Checks that the run may continue with the config that it was started with and `changes`."""
    shutil.copy(GOLDEN / "digits_config_44ea751.json", workdir.path.parent / "config.json")
    config = run.get_config(str(workdir.path.parent))
    config.update_from_flattened_dict(changes)
    workdir.check(experiment.resolve(config), may_change=may_change, defaults=experiment.default_settings())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"eval.every_epochs": 1.0},
        {"eval.every_steps": 7, "eval.before_training": True},
        {"log.every_steps": 5, "log.trackers": (), "checkpoint.every_steps": 50, "checkpoint.keep_best": 3},
        {"train.max_steps": 20, "eval.stop_at": 0.9, "data.num_workers": 2, "train.accumulate": 2},
        {"model.class_names": "names.txt", "predict.top_k": 1, "export.dtype": "float16", "plan.topology": "v5e:2x2"},
    ],
)
def test_a_continued_run_may_change_intervals_and_limits(workdir, changes):
    check(workdir, changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"schedule.base_lr": 0.2},
        {"train.epochs": 30.0},
        {"data.batch_size": 32},
        {"eval.image_size": 20},
        {"eval.weights": "trained"},
        {"model.init_from": "runs/other"},
        {"train.reduce_dtype": "bfloat16"},
        {"ema.decay": 0.9},
    ],
)
def test_a_continued_run_may_change_nothing_else(workdir, changes):
    ((key, value),) = changes.items()
    with pytest.raises(UsageError, match=rf"another config \({key}: .* there, {value} here\)"):
        check(workdir, changes)


def test_an_evaluation_may_change_all_but_the_network(workdir):
    free = {"seed": 1, "data.batch_size": 32, "schedule.base_lr": 0.2, "loss.name": "binary_cross_entropy"}
    check(workdir, free, may_change=experiment.EVALUATION_MAY_CHANGE)
    with pytest.raises(UsageError, match=r"another config \(model.bn_epsilon: 1e-05 there, 0.001 here\)"):
        check(workdir, {"model.bn_epsilon": 1e-3}, may_change=experiment.EVALUATION_MAY_CHANGE)


def test_keys_added_since_have_their_defaults_and_free_keys_removed_since_are_ignored(workdir):
    stored = json.loads((workdir.path / "config.json").read_text())
    del stored["train"]["reduce_dtype"], stored["export"], stored["model"]["blur_pool"]
    stored["log"]["removed"] = 1
    (workdir.path / "config.json").write_text(json.dumps(stored))
    check(workdir, {"eval.every_epochs": 1.0})
    with pytest.raises(UsageError, match=r"another config \(train.reduce_dtype: float32 there, bfloat16 here\)"):
        check(workdir, {"train.reduce_dtype": "bfloat16"})


def test_a_margin_in_pixels_becomes_the_same_crop(workdir, tmp_path):
    check(workdir, {})  # stored by that commit: data.eval_crop.padding=2 at 16 pixels
    assert run.get_config(str(workdir.path)).data.eval_crop.to_dict() == {"name": "central", "fraction": 16 / 18}
    with pytest.raises(UsageError, match=r"another config \(data.eval_crop.fraction: 0.888\d* there, 0.5 here\)"):
        check(workdir, {"data.eval_crop.fraction": 0.5})
    stored = json.loads((workdir.path / "config.json").read_text())
    stored["eval"]["image_size"] = 24
    (workdir.path / "config.json").write_text(json.dumps(stored))
    assert run.get_config(str(workdir.path)).data.eval_crop.fraction == 24 / 26
