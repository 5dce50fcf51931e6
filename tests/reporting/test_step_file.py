import numpy as np
import pytest

from resnet_jax.reporting.step_file import StepFile, as_numbers, drop_steps_after, is_known, read_bits


def written(path, *records):
    file = StepFile(path)
    for record in records:
        file.add(*record)
    file.close()
    return read_bits(path)


def test_every_bit_of_every_step_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(50, 2)).astype(np.float32)
    bits = written(tmp_path / "steps", *((step, float(a), float(b)) for step, (a, b) in enumerate(numbers, 1)))
    np.testing.assert_array_equal(bits, numbers.view(np.uint32))
    np.testing.assert_array_equal(as_numbers(bits), numbers)
    assert is_known(bits).all()


def test_a_run_that_continues_writes_its_steps_again(tmp_path):
    path = tmp_path / "steps"
    written(path, (1, 1.0, 2.0), (2, 3.0, 4.0), (3, 5.0, 6.0))
    drop_steps_after(path, 1)
    np.testing.assert_array_equal(as_numbers(read_bits(path)), [[1, 2]])
    bits = written(path, (2, 7.0, 8.0))
    np.testing.assert_array_equal(as_numbers(bits), [[1, 2], [7, 8]])
    drop_steps_after(path, 5)
    drop_steps_after(tmp_path / "none", 5)
    assert len(read_bits(path)) == 2


def test_steps_that_were_not_recorded_are_unknown_and_a_nan_is_known(tmp_path):
    path = tmp_path / "steps"
    path.write_bytes(b"\0" * 11)  # step 1, and a record that was cut short
    bits = written(path, (4, float("nan"), float("inf")))
    assert is_known(bits).tolist() == [True, False, False, True]
    assert np.isnan(as_numbers(bits)[3, 0]) and as_numbers(bits)[3, 1] == np.inf


@pytest.mark.parametrize("content", [b"", b"\1\2\3"])
def test_a_file_without_a_whole_step_has_none(tmp_path, content):
    assert read_bits(tmp_path / "none").shape == (0, 2)
    (tmp_path / "steps").write_bytes(content)
    assert read_bits(tmp_path / "steps").shape == (0, 2)
