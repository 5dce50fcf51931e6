import numpy as np
import pytest

from resnet_jax.data.records.records import Part, Records, sample


class Named:
    def count(self, path):
        return 10

    def read(self, path, position):
        return f"{path}{position}".encode()


def test_parts_of_files_are_one_sequence():
    records = Records(Named(), [Part("a", 7, 3), Part("b", 0, 2), Part("a", 0, 1)])
    expected = [b"a7", b"a8", b"a9", b"b0", b"b1", b"a0"]
    assert len(records) == 6
    assert [records[index] for index in range(6)] == list(records) == expected
    assert records.where(4) == "b record 1"
    for index in (-1, 6):
        with pytest.raises(IndexError, match=f"record {index} of 6"):
            records[index]


def test_no_parts():
    assert len(Records(Named(), [])) == 0


def test_the_sample_of_a_file_holds_both_ends_and_more():
    assert [sample("x", count) for count in (0, 1, 2)] == [[], [0], [0, 1]]
    assert sample("a/x", 1000) == sample("b/x", 1000)
    assert len(sample("x", 1000)) == 4
    sampled = [sample(f"x-{file:05d}", 1001) for file in range(200)]
    assert {(positions[0], positions[-1]) for positions in sampled} == {(0, 1000)}
    # The others are uniform: the mean of 400 has a standard deviation of 14.4.
    assert abs(np.mean([position for positions in sampled for position in positions[1:-1]]) - 500) < 60


def test_the_samples_of_parts_are_inside_them():
    records = Records(Named(), [Part("a", 7, 3), Part("b", 0, 0), Part("c", 2, 1), Part("d", 500, 1000)])
    first, none, only, many = records.samples()
    assert {0, 2} <= set(first) <= {0, 1, 2} and none == [] and only == [3]
    assert (many[0], many[-1], len(many)) == (4, 1003, 4)
