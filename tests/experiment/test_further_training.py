"""A new run that starts from the end of a previous run: its length, learning rate and other keys."""

import numpy as np
import pytest

from resnet_jax.experiment import make_further_training
from resnet_jax.experiment.computed import with_computed
from resnet_jax.experiment.milestones import make_milestones, schedule_options
from resnet_jax.training.schedules import create_schedule
from tests.tiny import tiny_config

NUM_IMAGES, STEPS = 480, 100  # 10 steps of 48 images are an epoch, and a run has 10 epochs
PIECES = {"schedule.name": "piecewise", "schedule.boundaries": (3.0, 6.0), "schedule.factors": (1.0, 0.1, 0.01)}


def keys(stored=None, typed=None, *, step=STEPS):
    """Returns the further training, and the learning rates of both runs as functions of their steps."""
    old = tiny_config(stored)
    found = make_further_training(
        old, tiny_config((stored or {}) | (typed or {})), run="runs/a", step=step, num_images=NUM_IMAGES
    )
    new = tiny_config((stored or {}) | found.keys)
    return found, rates(old), rates(new)


def rates(config):
    complete, _ = with_computed(config, NUM_IMAGES)
    milestones = make_milestones(complete, NUM_IMAGES)
    return np.asarray(create_schedule(**schedule_options(complete, milestones))(np.arange(milestones.schedule_steps)))


def test_it_begins_with_the_training_state_of_the_run_and_another_order():
    found, _, _ = keys(typed={"train.epochs": 15.0})
    begins = {"model.init_from": "runs/a", "model.init_head": True, "model.init_optimizer": True, "seed": 1}
    assert begins.items() <= found.keys.items() and found.with_optimizer


@pytest.mark.parametrize(
    ("stored", "typed", "step", "length"),
    [
        ({}, {"train.epochs": 15.0}, 100, {"train.epochs": 5.0}),
        ({}, {"train.epochs": 15.0}, 40, {"train.epochs": 11.0}),
        ({}, {"train.epochs": 4.0}, 100, {"train.epochs": 4.0}),
        ({}, {"schedule.base_lr": 0.01}, 100, {"train.epochs": 10.0}),
        ({"train.total_steps": 60}, {"train.total_steps": 90}, 60, {"train.total_steps": 30}),
        ({"train.total_steps": 60}, {"seed": 3}, 60, {"train.total_steps": 60}),
        ({"train.epochs": None}, {}, 2000, {"train.epochs": 200.0}),
    ],
)
def test_its_length_is_what_is_left_of_a_greater_length_else_the_whole(stored, typed, step, length):
    found, _, new = keys(stored, typed, step=step)
    assert length.items() <= found.keys.items()
    assert {"train.epochs", "train.total_steps"} & found.keys.keys() == length.keys()
    assert len(new) == length.get("train.total_steps", 10 * length.get("train.epochs", 0))


def test_after_a_decay_to_zero_it_warms_up_to_a_tenth_of_the_peak_and_decays_again():
    for name in ("cosine", "linear", "polynomial"):
        found, old, new = keys({"schedule.name": name}, {"train.epochs": 15.0})
        assert new.max() == pytest.approx(old.max() / 10) and new.argmax() == 5  # half an epoch of warm-up
        assert new[0] == 0 and new[-1] < 0.1 * new.max()
        assert found.rate == "a tenth of the earlier peak, after a warm-up, because its decay had ended"


@pytest.mark.parametrize(
    ("stored", "last", "falls"),
    [
        (PIECES, 0.01, False),
        ({"schedule.name": "constant"}, 1.0, False),
        ({"schedule.end": 0.05}, 0.05, True),
        ({"schedule.name": "linear", "schedule.decay_epochs": 20.0, "schedule.warmup_epochs": 0.0}, 0.5, True),
    ],
)
def test_from_a_rate_above_zero_it_continues_without_a_jump(stored, last, falls):
    found, old, new = keys(stored, {"train.epochs": 15.0})
    assert new[0] == pytest.approx(last * old.max(), rel=1e-3) and new.max() == new[0]
    assert (new[-1] < 0.5 * new[0]) == falls
    assert found.rate == "the last one of that run"


def test_an_unfinished_run_goes_on_at_its_rate_and_in_its_warm_up_with_its_schedule():
    _, old, new = keys(typed={"train.epochs": 15.0}, step=50)
    assert new[0] == pytest.approx(old[50], rel=1e-2) and new.max() == new[0]
    found, old, new = keys(typed={"train.epochs": 15.0}, step=3)
    assert new.max() == old.max() and found.rate == "as in the config"


def test_a_given_rate_is_taken_and_warmed_up_to_if_it_is_higher():
    found, _, new = keys(typed={"schedule.base_lr": 0.02})
    assert new.max() == pytest.approx(0.02 * 48 / 256) and new[0] == 0 and found.rate == "as given, after a warm-up"
    found, _, new = keys({"schedule.name": "constant"}, {"schedule.base_lr": 0.02})
    assert new[0] == new.max() == pytest.approx(0.02 * 48 / 256) and found.rate == "as given"


def test_what_ended_the_run_or_belonged_to_its_beginning_is_unset():
    stored = {
        "train.max_steps": 100,
        "eval.stop_at": 0.5,
        "data.progressive.sizes": (8,),
        "data.progressive.until_epochs": (3.0,),
        "model.init_from": "weights.safetensors",
        "model.allow_missing": ("se_",),
        "schedule.decay_epochs": 8.0,
    }
    found, _, _ = keys(stored)
    unset = {"train.max_steps": None, "eval.stop_at": None, "schedule.decay_epochs": None, "model.init_from": "runs/a"}
    assert unset.items() <= found.keys.items()
    assert [found.keys[key] for key in ("data.progressive.sizes", "model.allow_missing")] == [(), ()]


def test_without_its_optimizer_state_if_optimizer_or_trained_parameters_differ():
    for typed in ({"optimizer.name": "adamw"}, {"train.trainable": "head"}):
        found, _, _ = keys(typed=typed)
        assert not found.with_optimizer and "model.init_optimizer" not in found.keys  # its default is False
        assert typed.items() <= found.keys.items()
    assert keys(typed={"train.trainable": "all"})[0].with_optimizer  # the same as None
    found, _, _ = keys({"model.init_optimizer": True}, {"optimizer.name": "adamw", "schedule.base_lr": 0.003})
    assert found.keys["model.init_optimizer"] is False and found.keys["schedule.base_lr"] == 0.003


@pytest.mark.parametrize("typed", [{"model.depth": 14}, {"input.per_image": True}, {"data.name": "cifar10"}])
def test_another_network_or_data_set_does_not_go_on(typed):
    assert (
        make_further_training(tiny_config(), tiny_config(typed), run="runs/a", step=STEPS, num_images=NUM_IMAGES)
        is None
    )
