import numpy as np
import pytest

from resnet_jax.data.records.records import Records, ShardRange, sample


class Named:
    def count(self, path):
        return 10

    def read(self, path, number):
        return f"{path}{number}".encode()


def test_ranges_of_shards_are_one_sequence():
    records = Records(Named(), [ShardRange("a", 7, 3), ShardRange("b", 0, 2), ShardRange("a", 0, 1)])
    expected = [b"a7", b"a8", b"a9", b"b0", b"b1", b"a0"]
    assert len(records) == 6
    assert [records[index] for index in range(6)] == list(records) == expected
    assert records.where(4) == "b record 1"
    for index in (-1, 6):
        with pytest.raises(IndexError, match=f"record {index} of 6"):
            records[index]


def test_no_ranges():
    assert len(Records(Named(), [])) == 0


def test_a_sample_has_both_ends_and_two_others():
    assert [sample("x", count) for count in (0, 1, 2)] == [[], [0], [0, 1]]
    assert sample("a/x", 1000) == sample("b/x", 1000)
    assert len(sample("x", 1000)) == 4
    sampled = [sample(f"x-{file:05d}", 1001) for file in range(200)]
    assert {(numbers[0], numbers[-1]) for numbers in sampled} == {(0, 1000)}
    # The other two are uniform: the mean of all 400 has a standard deviation of 14.4.
    assert abs(np.mean([number for numbers in sampled for number in numbers[1:-1]]) - 500) < 60


def test_samples_lie_inside_their_ranges():
    records = Records(
        Named(), [ShardRange("a", 7, 3), ShardRange("b", 0, 0), ShardRange("c", 2, 1), ShardRange("d", 500, 1000)]
    )
    first, none, only, many = records.samples()
    assert {0, 2} <= set(first) <= {0, 1, 2} and none == [] and only == [3]
    assert (many[0], many[-1], len(many)) == (4, 1003, 4)
