import itertools

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.experiment.milestones import make_milestones
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
    milestones = milestones_of(20, 5.0, **{"log.every_steps": 7})
    assert [step for step in range(1, 21) if milestones.log_due(step)] == [7, 14, 20]


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
