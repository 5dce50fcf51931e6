import numpy as np
import pytest

from resnet_jax.data.order import EvalOrder, TrainOrder


@pytest.mark.parametrize(("num_examples", "batch_size"), [(10, 4), (12, 4), (7, 16), (1, 3)])
def test_each_epoch_has_every_example_once(num_examples, batch_size):
    order = TrainOrder(num_examples, batch_size, seed=0)
    stream = np.concatenate([order.rows(step).indices for step in range(60 // batch_size + num_examples)])
    epochs = stream[: len(stream) // num_examples * num_examples].reshape(-1, num_examples)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(num_examples), (len(epochs), 1)))


def test_epochs_and_seeds_differ():
    first, second = (TrainOrder(1000, 1000, seed=0).rows(step).indices for step in (0, 1))
    other = TrainOrder(1000, 1000, seed=1).rows(0).indices
    assert (first == second).mean() < 0.02
    assert (first == other).mean() < 0.02


def test_the_order_does_not_depend_on_the_batch_size():
    small, large = TrainOrder(100, 8, seed=5), TrainOrder(100, 40, seed=5)
    np.testing.assert_array_equal(
        np.concatenate([small.rows(s).indices for s in range(15)]),
        np.concatenate([large.rows(s).indices for s in range(3)]),
    )


def test_any_step_is_reached_at_once():
    rows = TrainOrder(1_281_167, 1024, seed=0).rows(10**9)
    np.testing.assert_array_equal(rows.positions, 10**9 * 1024 + np.arange(1024))
    assert rows.indices.min() >= 0 and rows.indices.max() < 1_281_167


@pytest.mark.parametrize(("num_examples", "batch_size"), [(10, 4), (12, 4), (3, 8)])
def test_evaluation_sees_every_example_once_in_order(num_examples, batch_size):
    order = EvalOrder(num_examples, batch_size)
    rows = [order.rows(step) for step in range(-(-num_examples // batch_size))]
    assert all(len(r.indices) == batch_size for r in rows)
    seen = np.concatenate([r.indices[r.mask] for r in rows])
    np.testing.assert_array_equal(seen, np.arange(num_examples))
