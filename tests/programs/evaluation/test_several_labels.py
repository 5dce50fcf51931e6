import pytest

from resnet_jax.programs.evaluation.several_labels import judge
from resnet_jax.programs.evaluation.wilson import wilson
from tests.programs.evaluation.example import answers_of


def test_answers_are_judged_by_any_of_the_labels_and_images_without_one_are_left_out():
    answers = answers_of([0, 0, 1, 2, -1], [0, 1, 2, 2, -1])
    found = judge(answers, [(0, 1), (1,), (), (0,), (2,)])
    assert found == {"count": 4, "without_label": 1, "right": 2, "top1": 0.5, "interval": wilson(2, 4)}
    assert judge(answers_of([0], [0]), [()])["top1"] is None
    assert judge(answers, [(0,)] * 5)["top1"] == pytest.approx(0.2)
