import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from resnet_jax import experiment
from resnet_jax.errors import UsageError
from resnet_jax.evaluate import evaluate
from resnet_jax.signals import STOPPED
from resnet_jax.stopping import Requests
from resnet_jax.train import train
from resnet_jax.workdir import Workdir
from tests.tiny import tiny_config


class Stop(Requests):
    """Requests with one to stop, or none."""

    def __init__(self, came):
        super().__init__()
        self.came = came

    def stop_here(self):
        return self.came


STEPS = {"train.total_steps": 6, "eval.every_steps": 2, "ema.decay": 0.9}


def build(changes=None):
    return experiment.build(tiny_config(STEPS | (changes or {})))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("trained"))
    assert train(build(), workdir, experiment.resolve(tiny_config()), Stop(came=False)) == 0
    return workdir


def evaluations(workdir):
    records = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
    return {record["step"]: record for record in records if record["split"] == "eval"}


@pytest.mark.parametrize(("which", "step"), [("latest", 6), ("6", 6), ("4", 4)])
def test_a_checkpoint_is_evaluated_as_it_was_in_training(trained, which, step):
    assert evaluate(build({"eval.checkpoint": which}), trained, Stop(came=False)) == 0
    written = json.loads(trained.evaluation.read_text())
    assert (written["step"], written["weights"]) == (step, "ema")
    assert written["eval"] == {key: evaluations(trained)[step][key] for key in ("loss", "top1", "top5", "count")}


def test_the_best_checkpoint_is_found(trained):
    assert evaluate(build({"eval.checkpoint": "best"}), trained, Stop(came=False)) == 0
    best = json.loads(trained.result.read_text())["best"]
    assert json.loads(trained.evaluation.read_text())["step"] == best["step"]


def test_the_trained_weights_can_be_evaluated_instead(trained):
    assert evaluate(build({"eval.weights": "trained"}), trained, Stop(came=False)) == 0
    written = json.loads(trained.evaluation.read_text())
    assert written["weights"] == "trained"
    assert written["eval"]["loss"] != evaluations(trained)[6]["loss"]


@pytest.mark.parametrize("which", ["5", "newest", ""])
def test_a_checkpoint_that_is_not_there_is_said_with_those_that_are(trained, which):
    with pytest.raises(
        UsageError, match=rf"no checkpoint '{which}' in .*: there are .*4, 6; .* latest, best or a step"
    ):
        evaluate(build({"eval.checkpoint": which}), trained, Stop(came=False))


def test_a_signal_leaves_no_result(trained):
    trained.evaluation.unlink(missing_ok=True)
    assert evaluate(build(), trained, Stop(came=True)) == STOPPED
    assert not trained.evaluation.exists()


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds no run: name that of one with --workdir"):
        Workdir(tmp_path / "none").must_hold_a_run()


def test_neither_the_training_images_nor_their_number_matter(trained):
    changes = STEPS | {"data.synthetic.num_train": 1, "data.synthetic.num_eval": 3, "data.batch_size": 96}
    sizes = {"data.progressive.sizes": (8,), "data.progressive.until_epochs": (1.0,)}
    built = experiment.build(tiny_config(changes | sizes), training=False)
    assert evaluate(built, trained, Stop(came=False)) == 0
    assert json.loads(trained.evaluation.read_text())["eval"]["count"] == 3


def test_weights_that_are_not_finite_have_a_result_all_the_same(trained):
    real = build().eval_step
    spoil = lambda variables, batch: real(jax.tree.map(lambda leaf: leaf * jnp.nan, variables), batch)  # noqa: E731
    assert evaluate(dataclasses.replace(build(), eval_step=spoil), trained, Stop(came=False)) == 0
    written = json.loads(trained.evaluation.read_text())["eval"]
    assert (written["loss"], written["top1"]) == (None, 0.0)
