import math

import pytest

from resnet_jax.checkpoints.retention import Retention


def make(top1, *, unreadable=(), keep_latest=2, keep_best=1):
    return Retention(top1, unreadable=unreadable, keep_latest=keep_latest, keep_best=keep_best)


def test_the_latest_and_the_best_are_kept():
    retention = make({})
    removed = [retention.add(step, top1) for step, top1 in ((0, 0.1), (10, 0.5), (20, 0.3), (25, None), (30, 0.2))]
    assert removed == [[], [], [0], [], [20]]
    assert retention.steps == [10, 25, 30] and retention.best == (10, 0.5)


@pytest.mark.parametrize(
    ("top1", "best"),
    [
        ({}, None),
        ({1: None}, None),
        ({1: 0.5, 2: 0.5}, (2, 0.5)),
        ({1: 0.1, 2: math.nan}, (1, 0.1)),
        ({1: 0.0, 2: None}, (1, 0.0)),
    ],
)
def test_the_best(top1, best):
    assert make(top1).best == best


def test_keep_best_may_be_0():
    retention = make({1: 0.9, 2: 0.1}, keep_best=0)
    assert retention.add(3, 0.2) == [1]


def test_several_best_are_kept():
    retention = make({1: 0.9, 2: 0.8, 3: 0.7, 4: 0.1}, keep_latest=1, keep_best=2)
    assert retention.add(5, 0.0) == [3, 4]


def test_an_accuracy_added_later_can_be_the_best():
    retention = make({1: 0.5, 2: None}, keep_latest=1)
    assert retention.lacks_evaluation(2) and not retention.lacks_evaluation(1)
    assert retention.add(2, 0.75) == [1]
    assert retention.best == (2, 0.75)


def test_unreadable_checkpoints_are_not_outdated():
    retention = make({1: None, 2: 0.5}, unreadable=[1], keep_latest=1)
    assert retention.add(3, 0.1) == []
    retention.remove(1)
    assert retention.add(4, 0.1) == [3]
    assert retention.steps == [2, 4]
