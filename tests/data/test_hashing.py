import numpy as np
import pytest

from resnet_jax.data.hashing import combine, mix64, permute, uniforms


def test_mix_is_splitmix64():
    # First outputs of SplitMix64 seeded with 0, from Vigna's reference implementation (prng.di.unimi.it).
    states = np.array([1, 2, 3], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    np.testing.assert_array_equal(mix64(states), np.array(expected, np.uint64))


def test_combine_depends_on_every_value_and_on_their_order():
    hashes = {int(combine(*parts)[0]) for parts in [(1, 2), (2, 1), (1,), (1, 2, 0), (0, 1, 2), (1, 3)]}
    assert len(hashes) == 6


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 10, 17, 1437, 65536])
def test_permute_is_a_permutation(size):
    np.testing.assert_array_equal(np.sort(permute(np.arange(size), size, 7)), np.arange(size))


def test_permute_computes_single_indices():
    whole = permute(np.arange(1_281_167), 1_281_167, 3)
    some = np.array([5, 1_281_166, 77])
    np.testing.assert_array_equal(permute(some, 1_281_167, 3), whole[some])


def test_permute_shuffles():
    size = 10_000
    order = permute(np.arange(size), size, 1)
    other = permute(np.arange(size), size, 2)
    assert (order == other).sum() < 10  # 1 expected
    assert (np.diff(order) == 1).sum() < 10  # 1 expected
    # A tenth of the first tenth comes from each tenth of the data: 100 +- 9.5.
    counts = np.bincount(order[: size // 10] // (size // 10), minlength=10)
    assert (abs(counts - 100) < 45).all()


def test_every_permutation_of_four_comes_up_equally_often():
    orders = [tuple(permute(np.arange(4), 4, int(combine(key)[0]))) for key in range(2400)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert (abs(counts - 100) < 45).all()  # 100 +- 9.8


def test_uniforms_are_uniform_and_depend_only_on_seed_and_position():
    draws = uniforms(3, np.arange(20_000), 4)
    assert draws.min() >= 0 and draws.max() < 1
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.01)  # +- 0.002
    np.testing.assert_allclose(draws.var(0), 1 / 12, atol=0.003)
    np.testing.assert_allclose(np.corrcoef(draws.T), np.eye(4), atol=0.03)  # +- 0.007
    np.testing.assert_array_equal(uniforms(3, np.array([77]), 4)[0], draws[77])
    assert (uniforms(4, np.arange(10), 4) != draws[:10]).all()
