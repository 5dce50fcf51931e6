import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.training import metrics


def test_rank_agrees_with_a_stable_sort():
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 4, size=(200, 9)).astype(np.float32)  # many ties
    labels = rng.integers(0, 9, size=200)
    order = np.argsort(-logits, axis=-1, kind="stable")
    expected = [list(row).index(label) for row, label in zip(order, labels, strict=True)]
    np.testing.assert_array_equal(metrics.label_rank(jnp.asarray(logits), jnp.asarray(labels)), expected)


@pytest.mark.parametrize("logits", [[np.nan] * 10, [0.0] * 3 + [np.nan] + [0.0] * 6])
def test_a_broken_model_scores_nothing(logits):
    logits = jnp.asarray([logits])
    totals = metrics.count_examples(logits, jnp.array([3]), jnp.array([True]), jnp.zeros(1))
    assert (int(totals.top1), int(totals.top5)) == (0, 0)


def test_a_constant_model_is_right_by_chance_alone():
    labels = jnp.arange(10)
    totals = metrics.count_examples(jnp.zeros((10, 10)), labels, jnp.ones(10, bool), jnp.zeros(10))
    assert (int(totals.top1), int(totals.top5), int(totals.count)) == (1, 5, 10)


def test_padding_counts_for_nothing_even_with_a_bad_loss():
    logits = jnp.eye(4)
    mask = jnp.array([True, True, False, False])
    losses = jnp.array([1.0, 2.0, jnp.nan, jnp.inf])
    totals = metrics.count_examples(logits, jnp.array([0, 3, 2, 3]), mask, losses)
    assert (int(totals.count), int(totals.top1), float(totals.loss)) == (2, 1, 3.0)


@pytest.mark.parametrize("num_classes", [3, 10])
def test_no_prediction_is_correct_for_an_unreadable_image(num_classes):
    logits = jnp.eye(num_classes)
    labels = jnp.full(num_classes, UNREADABLE)
    totals = metrics.count_examples(logits, labels, jnp.ones(num_classes, bool), jnp.ones(num_classes))
    assert (int(totals.count), int(totals.top1), int(totals.top5)) == (num_classes, 0, 0)


def test_merging_is_exact_beyond_int32_and_divides_once():
    fetched = metrics.Totals(count=np.int32(2**30), top1=np.int32(2**29), top5=np.int32(2**30), loss=np.float32(0.5))
    total = metrics.zero()
    for _ in range(8):
        total = metrics.merge(total, fetched)
    assert total.count == 2**33
    assert metrics.scalars(total) == {"loss": 4.0 / 2**33, "top1": 0.5, "top5": 1.0}
