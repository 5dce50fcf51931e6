import csv
import json

import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.programs.evaluation import answers
from tests.programs.evaluation.example import ANSWERS, NAMES, SUBJECT, answers_of, written


def stored():
    return answers.to_store(ANSWERS, SUBJECT, [*NAMES[:2], "c", "class 3"], (f"a/{k}.jpg" for k in range(6)))


def test_what_is_written_is_read_and_equal_answers_give_equal_files(tmp_path):
    answers.write(tmp_path / "one.npz", stored())
    answers.write(tmp_path / "two.npz", stored())
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    found = answers.read(tmp_path / "one.npz")
    assert found.subject == SUBJECT and found.names == (*NAMES[:2], "c", "class 3")
    assert found.ids.tolist() == [f"a/{k}.jpg".encode() for k in range(6)]
    assert found.label.tolist() == [0, 0, 0, 1, 2, 2]
    assert found.right.tolist() == [True, True, False, True, False, False]
    assert found.top[0, 0] == 0 and found.top.shape == (6, 4) and (found.top[5] == -1).all()
    assert found.probability[0, 0] == pytest.approx(np.e / (np.e + 3), rel=1e-6)
    assert found.label_log_probability[2] == pytest.approx(-np.log(np.e + 3), rel=1e-6)


def test_padding_is_not_stored():
    joined = answers.join([answers_of([0, 1], [0, 0], [True, False]), answers_of([2, 3], [2, 2])])
    assert joined.label.tolist() == [0, 2, 3] and joined.scores.top[:, 0].tolist() == [0, 2, 2]
    assert joined.mask.all()


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", lambda data: b"no" * 99])
def test_a_damaged_file_is_one_line(tmp_path, damage):
    path = tmp_path / "answers.npz"
    answers.write(path, stored())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match=r"answers.npz cannot be read \(.*\): run --mode=eval again") as error:
        answers.read(path)
    assert "\n" not in str(error.value)


def test_a_file_without_its_arrays_or_of_another_version_is_one_line(tmp_path):
    path = tmp_path / "answers.npz"
    about = {"version": 1, "subject": {}, "names": []}
    np.savez(path, about=np.frombuffer(json.dumps(about).encode(), np.uint8), label=np.zeros(3))
    with pytest.raises(UsageError, match="cannot be read"):
        answers.read(path)
    np.savez(path, about=np.frombuffer(json.dumps(about | {"version": 9}).encode(), np.uint8))
    with pytest.raises(UsageError, match="has format 9, not 1"):
        answers.read(path)


def test_the_list_of_errors_has_every_wrong_image_most_confident_first(tmp_path):
    written(tmp_path / "one")
    with (tmp_path / "one" / "errors.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["2.jpg", "4.jpg", "5.jpg"]
    names = ['a, "b"', "c d", "\\udcff猫"]
    assert [(row["label"], row["predicted"]) for row in rows] == [
        (names[0], names[1]),
        (names[2], "class 3"),
        (names[2], ""),
    ]
    share = np.e / (np.e + 3)
    assert float(rows[0]["probability"]) == pytest.approx(share, abs=1e-6) and rows[2]["probability"] == ""
    assert float(rows[0]["probability of label"]) == pytest.approx((1 - share) / 3, abs=1e-6)
