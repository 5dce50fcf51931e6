import collections

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


@pytest.mark.parametrize("num_groups", [1, 2, 8])
def test_without_repeats_golden(num_groups):
    """A run that was started with an earlier version continues with the same batches."""
    rows = TrainOrder(20, 8, seed=7, num_groups=num_groups).rows(2)  # crosses the end of an epoch
    assert rows.positions.tolist() == list(range(16, 24))
    assert rows.indices.tolist() == [16, 2, 4, 9, 3, 1, 0, 18]


def test_repeats_golden():
    rows = TrainOrder(20, 8, seed=7, repeats=2, num_groups=4).rows(0)
    assert rows.positions.tolist() == [0, 4, 1, 5, 2, 6, 3, 7]  # group g has two rows: offsets g and 4 + g
    first = TrainOrder(20, 4, seed=7).rows(0).indices
    assert rows.indices.tolist() == first[[0, 2, 0, 2, 1, 3, 1, 3]].tolist()


REPEATED = [(10, 8, 3, 4), (7, 12, 3, 1), (5, 16, 4, 2), (9, 8, 2, 8), (11, 7, 3, 1), (4, 30, 3, 5), (6, 10, 4, 2)]


@pytest.mark.parametrize(("num_examples", "batch_size", "repeats", "num_groups"), REPEATED)
def test_each_epoch_has_every_example_as_often_as_it_repeats(num_examples, batch_size, repeats, num_groups):
    order = TrainOrder(num_examples, batch_size, 3, repeats, num_groups)
    steps = -(-3 * repeats * num_examples // batch_size)
    rows = [order.rows(step) for step in range(steps)]
    positions, indices = (np.concatenate([getattr(part, name) for part in rows]) for name in ("positions", "indices"))
    for step, part in enumerate(rows):
        assert sorted(part.positions) == list(range(step * batch_size, (step + 1) * batch_size))
    stream = indices[np.argsort(positions)][: 3 * repeats * num_examples].reshape(3, num_examples, repeats)
    assert (stream == stream[:, :, :1]).all()  # in succession
    np.testing.assert_array_equal(np.sort(stream[:, :, 0]), np.tile(np.arange(num_examples), (3, 1)))
    single = TrainOrder(num_examples, 3 * num_examples, seed=3).rows(0).indices
    np.testing.assert_array_equal(stream[:, :, 0].ravel(), single)  # the epochs are those without repeats
    for step in (steps - 1, 0, steps // 2):  # at random
        np.testing.assert_array_equal(order.rows(step).indices, rows[step].indices)


@pytest.mark.parametrize(("batch_size", "repeats", "num_groups"), [(64, 3, 4), (64, 4, 4), (48, 3, 8), (96, 2, 6)])
def test_repeats_are_spread_over_the_batch_norm_groups(batch_size, repeats, num_groups):
    order = TrainOrder(1000, batch_size, 0, repeats, num_groups)
    for step in range(20):  # some steps begin between the repeats of an example
        for group in order.rows(step).indices.reshape(num_groups, -1):
            assert len(set(group)) == len(group)


@pytest.mark.parametrize(("batch_size", "repeats", "num_groups"), [(64, 3, 2), (64, 4, 2), (48, 5, 4), (96, 3, 1)])
def test_more_repeats_than_groups_are_distributed_evenly(batch_size, repeats, num_groups):
    order = TrainOrder(1000, batch_size, 0, repeats, num_groups)
    most = -(-repeats // num_groups)
    for step in range(20):
        for group in order.rows(step).indices.reshape(num_groups, -1):
            assert max(collections.Counter(group.tolist()).values()) <= most


@pytest.mark.parametrize("num_groups", [1, 2, 4, 8])
@pytest.mark.parametrize("repeats", [2, 3, 4])
def test_no_row_is_mixed_with_a_repeat_of_itself(repeats, num_groups):
    order = TrainOrder(1000, 96, 0, repeats, num_groups)
    for step in range(20):
        groups = order.rows(step).indices.reshape(num_groups, -1)
        assert (groups != np.roll(groups, 1, axis=1)).all()  # the partner that Mixing blends with


@pytest.mark.parametrize(("num_examples", "batch_size"), [(10, 4), (12, 4), (3, 8)])
def test_evaluation_sees_every_example_once_in_order(num_examples, batch_size):
    order = EvalOrder(num_examples, batch_size)
    rows = [order.rows(step) for step in range(-(-num_examples // batch_size))]
    assert all(len(r.indices) == batch_size for r in rows)
    seen = np.concatenate([r.indices[r.mask] for r in rows])
    np.testing.assert_array_equal(seen, np.arange(num_examples))
