import json

import numpy as np

from resnet_jax.reporting.metrics_file import drop_lines_after, read_columns


def test_columns_of_each_split(tmp_path):
    lines = [
        {"step": 10, "split": "train", "loss": 2.0, "mfu": 0.3},
        {"step": 10, "split": "eval", "loss": 1.5, "count": 7},
        {"step": 20, "split": "train", "loss": None},
    ]
    (tmp_path / "m").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = read_columns(tmp_path / "m")
    assert columns.keys() == {"train", "eval"}
    assert {name: values.tolist() for name, values in columns["eval"].items()} == {
        "step": [10.0],
        "loss": [1.5],
        "count": [7.0],
    }
    np.testing.assert_array_equal(columns["train"]["step"], [10, 20])
    np.testing.assert_array_equal(columns["train"]["loss"], [2.0, np.nan])
    np.testing.assert_array_equal(columns["train"]["mfu"], [0.3, np.nan])


def test_incomplete_lines_are_skipped(tmp_path):
    whole = '{"step": 1, "split": "train", "loss": 1.0}\n'
    for end in ('{"step": 2, "split": "tr', "\x00\x00\x00", "2", "", "\n", b"\xff".decode("latin-1")):
        (tmp_path / "m").write_bytes((whole + end).encode("latin-1"))
        assert read_columns(tmp_path / "m")["train"]["step"].tolist() == [1.0]


def test_an_empty_file_has_no_columns(tmp_path):
    (tmp_path / "m").touch()
    assert read_columns(tmp_path / "m") == {}


def test_lines_after_a_step_are_dropped_and_so_is_an_incomplete_line(tmp_path):
    path = tmp_path / "m"
    drop_lines_after(path, 5)
    assert not path.exists()
    path.write_text('{"step": 5, "a": 1}\n{"step": 6}\n{"step": 5, "b": 2}\n{"st')
    drop_lines_after(path, 5)
    assert path.read_text() == '{"step": 5, "a": 1}\n{"step": 5, "b": 2}\n'
