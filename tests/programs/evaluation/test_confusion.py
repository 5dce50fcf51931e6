import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.programs.evaluation.confusion import Pair, count_pairs
from resnet_jax.training.metrics import label_rank, predicted_class
from resnet_jax.training.scores import NO_ANSWER
from tests.programs.evaluation.example import answers_of as answers


def test_the_predicted_class_is_the_one_of_rank_0_for_any_logits():
    rng = np.random.default_rng(0)
    logits = rng.integers(-2, 3, (300, 7)).astype(np.float32)  # with many ties
    logits[rng.random(logits.shape) < 0.05] = np.nan
    logits[rng.random(logits.shape) < 0.05] = np.inf
    logits[rng.random(logits.shape) < 0.05] = -np.inf
    predicted = np.asarray(predicted_class(jnp.asarray(logits), jnp.zeros(300, jnp.int32)))
    for label in range(7):
        rank = label_rank(jnp.asarray(logits), jnp.full(300, label))
        assert ((np.asarray(rank) == 0) == (predicted == label)).all()
    assert ((predicted == NO_ANSWER) == np.isnan(logits).any(axis=1)).all() and (predicted == NO_ANSWER).any()


def test_an_unreadable_image_has_no_answer():
    logits = jnp.asarray([[0.0, 1.0], [0.0, 1.0]])
    assert predicted_class(logits, jnp.asarray([UNREADABLE, 0])).tolist() == [NO_ANSWER, 1]


BATCHES = [
    answers([0, 0, 1, 2], [0, 1, 1, 3]),
    answers([0, UNREADABLE, 2, 0], [1, NO_ANSWER, NO_ANSWER, 0], [True, True, True, False]),
]


def test_the_matrix_is_counted_over_batches_without_padding():
    confusion = count_pairs(BATCHES, num_classes=3, num_outputs=4)
    assert np.stack(list(confusion.rows())).tolist() == [
        [1, 2, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1],
    ]
    assert (confusion.total, confusion.unreadable, confusion.unanswered) == (7, 1, 2)
    assert confusion.correct.tolist() == [1, 1, 0]
    assert confusion.support.tolist() == [3, 1, 2]
    assert confusion.predictions.tolist() == [1, 3, 0, 1]


def test_mistakes_are_sorted_by_frequency_then_by_class():
    confusion = count_pairs(BATCHES, num_classes=3, num_outputs=4)
    assert confusion.most_confused(9) == [Pair(0, 1, 2), Pair(2, NO_ANSWER, 1), Pair(2, 3, 1)]
    assert confusion.most_confused(1) == [Pair(0, 1, 2)]


@pytest.mark.parametrize("outputs", [40, 43])
def test_the_matrix_equals_a_plain_count(outputs):
    rng = np.random.default_rng(1)
    label, predicted = rng.integers(0, 40, 5000), rng.integers(0, outputs, 5000)
    expected = np.zeros((41, outputs + 1), int)
    for row, column in zip(label, predicted, strict=True):
        expected[row, column] += 1
    batches = [answers(label[k : k + 64], predicted[k : k + 64], num_outputs=outputs) for k in range(0, 5000, 64)]
    confusion = count_pairs(batches, num_classes=40, num_outputs=outputs)
    assert (np.stack(list(confusion.rows())) == expected).all()
    assert (confusion.correct == np.diag(expected)[:40]).all()
    assert (confusion.predictions == expected.sum(axis=0)[:-1]).all()
