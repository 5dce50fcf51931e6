import itertools

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.experiment.description import evaluated_steps, schedule_warnings
from resnet_jax.experiment.milestones import make_milestones, schedule_options
from resnet_jax.programs.recipes import get_recipe
from resnet_jax.training.schedules import create_schedule
from tests.tiny import tiny_config


def milestones_of(total_steps, steps_per_epoch, **changes):
    config = tiny_config({"data.batch_size": 100, "train.total_steps": total_steps} | changes)
    return make_milestones(config, round(100 * steps_per_epoch))


@pytest.mark.parametrize(
    ("total_steps", "steps_per_epoch", "every"),
    [(112_590, 1251.14, 100), (3000, 100.0, 100), (1800, 20.5, 20), (200, 20.5, 10), (30, 200.0, 1), (12, 0.6, 1)],
)
def test_without_a_number_there_are_twenty_reports_a_run_and_one_an_epoch(total_steps, steps_per_epoch, every):
    milestones = milestones_of(total_steps, steps_per_epoch)
    due = [step for step in range(1, total_steps + 1) if milestones.log_due(step)]
    assert (milestones.log_every_steps, due[0], due[-1]) == (every, 1, total_steps)
    assert len(due) >= min(20, total_steps)
    assert max(later - step for step, later in itertools.pairwise(due)) <= max(1, min(steps_per_epoch, 100))


def test_a_given_number_of_steps_is_kept():
    milestones = milestones_of(22, 5.0, **{"log.every_steps": 7})
    assert [step for step in range(1, 23) if milestones.log_due(step)] == [7, 14, 21, 22]


@pytest.mark.parametrize(("total_steps", "due"), [(299, 23), (60, 21), (12, 12)])
def test_a_run_shorter_than_three_intervals_has_as_many_reports_as_without_a_number(total_steps, due):
    changes = {"log.every_steps": 100, "train.total_steps": total_steps}
    short, without = (milestones_of(total_steps, 22.45, **changes | more) for more in ({}, {"log.every_steps": None}))
    steps = [step for step in range(1, total_steps + 1) if short.log_due(step)]
    assert steps == [step for step in range(1, total_steps + 1) if without.log_due(step)] and len(steps) == due
    assert milestones_of(300, 22.45, **{"log.every_steps": 100}).log_every_steps == 100


def test_the_demo_reports_every_hundred_steps():
    config = get_recipe("digits")
    milestones = make_milestones(config, 1437)
    due = [step for step in range(1, milestones.total_steps + 1) if milestones.log_due(step)]
    assert due == [*range(100, 801, 100), 808]


@pytest.mark.parametrize(
    ("every", "words"),
    [
        (7, "every 7 steps and at the end"),
        (19.4, "every 19.4 steps and at the end"),
        (20, "at the end only, because the run is not longer than the interval of 20 steps"),
        (1000, "at the end only, because the run is not longer than the interval of 1,000 steps"),
    ],
)
def test_an_interval_that_is_longer_than_the_run_is_not_listed(every, words):
    milestones = milestones_of(20, 10.0, **{"eval.every_epochs": every / 10})
    assert evaluated_steps(milestones) == words
    assert any(map(milestones.evaluation_due, range(1, 20))) == words.startswith("every")


@pytest.mark.parametrize(
    ("total_steps", "max_steps", "warns"), [(20, None, True), (21, None, False), (60, 20, True), (60, 30, False)]
)
def test_a_run_that_ends_in_its_warm_up_warns(total_steps, max_steps, warns):
    config = tiny_config(
        {"train.total_steps": total_steps, "train.max_steps": max_steps, "schedule.warmup_epochs": 2.0}
        | {"data.batch_size": 10}
    )
    milestones = make_milestones(config, 100)
    schedule = create_schedule(**schedule_options(config, milestones))
    found = schedule_warnings(milestones, schedule)
    assert len(found) == warns
    # The learning rate of update k is schedule(k); the last update is total_steps - 1.
    rates = [float(schedule(step)) for step in range(milestones.total_steps)]
    assert (max(rates) < schedule.peak_lr * (1 - 1e-6)) == warns
    assert not warns or "the run ends at step 20, and the learning rate reaches its peak only after" in found[0]


def test_a_run_that_ends_early_has_twenty_reports_too():
    assert milestones_of(2000, 200.0, **{"train.max_steps": 40}).log_every_steps == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.epochs": 2e9}, "config.train.epochs amounts to 4.17e[+]09 steps"),
        ({"schedule.warmup_epochs": 1.1e9}, "config.schedule.warmup_epochs amounts to"),
        ({"schedule.boundaries": (1.0, 1.1e9)}, "config.schedule.boundaries amounts to"),
        ({"train.total_steps": 2**31 - 1, "eval.every_steps": 1}, "amounts to 2,147,483,647 evaluations"),
    ],
)
def test_numbers_of_steps_that_can_only_be_mistakes(changes, words):
    with pytest.raises(UsageError, match=words):
        make_milestones(tiny_config(changes), 100)


def test_a_long_run_is_no_mistake():
    found = make_milestones(tiny_config({"train.total_steps": 2**31 - 1, "eval.every_epochs": 1e9}), 100)
    assert found.total_steps == 2**31 - 1
