import pytest

from resnet_jax.data.records import Part, Records


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
