import csv
import json
import math

import numpy as np
import pytest

from resnet_jax.programs.evaluation import certificate
from resnet_jax.programs.evaluation.confusion import count_pairs
from resnet_jax.training.metrics import NO_ANSWER, Answers, Totals

NAMES = ['a, "b"', "c\nd", "\udcff猫"]
ABOUT = {
    "weights": {"sha256": "ab" * 32, "path": "/runs/one/checkpoints/808", "step": 808, "kind": "trained"},
    "network": {"model.depth": 8},
    "data": {"name": "digits:1.0.0/test[:50%]", "examples": 6},
    "classes": {"number": 3, "outputs": 4, "fingerprint": "00"},
    "preprocessing": {"image_size": 16, "resize": "area"},
}
ANSWERS = Answers(
    np.array([0, 0, 0, 1, 2, 2, 0], np.int32), np.array([0, 0, 1, 1, 3, NO_ANSWER, 0], np.int32), np.arange(7) < 6
)
TOTALS = Totals(count=6, top1=3, top5=5, loss=3.0)


def counted(totals=TOTALS):
    return certificate.count_answers([ANSWERS], totals, num_classes=3, num_outputs=4)


def written(directory, totals=TOTALS):
    """The certificate, after it was written."""
    content, names = certificate.certify(ABOUT, totals, counted(), [ANSWERS]), certificate.names_of_outputs(NAMES, 4)
    certificate.begin(directory)
    certificate.finish(directory, content, counted(), names)
    return content


def test_the_name_of_a_directory_says_what_is_in_it():
    assert certificate.directory_name(ABOUT)[:-6] == "808-digits-1.0.0-test-50-16px-trained-"


def test_another_place_of_the_weights_is_no_other_name_and_other_weights_or_pixels_are():
    moved = ABOUT | {"weights": ABOUT["weights"] | {"path": "/moved/808"}}
    assert certificate.directory_name(moved) == certificate.directory_name(ABOUT)
    others = [
        ABOUT | {"weights": ABOUT["weights"] | {"sha256": "cd" * 32}},
        ABOUT | {"preprocessing": {"image_size": 16, "resize": "bicubic"}},
    ]
    assert len({certificate.directory_name(about) for about in [ABOUT, *others]}) == 3


@pytest.mark.parametrize("totals", [Totals(7, 3, 5, 3.0), Totals(6, 4, 5, 3.0)])
def test_answers_that_are_not_those_of_the_totals_are_an_error(totals):
    with pytest.raises(ValueError, match="confusion matrix"):
        counted(totals)


def test_the_tables_are_read_back_as_they_were_counted(tmp_path):
    written(tmp_path / "one")
    with (tmp_path / "one" / "confusion.csv").open(encoding="utf-8", newline="") as file:
        matrix = list(csv.reader(file))
    names = ['a, "b"', "c d", "\\udcff猫"]
    assert matrix == [
        ["true class", *names, "class 3", "(none)"],
        [names[0], "2", "1", "0", "0", "0"],
        [names[1], "0", "1", "0", "0", "0"],
        [names[2], "0", "0", "0", "1", "1"],
    ]
    with (tmp_path / "one" / "per_class.csv").open(encoding="utf-8", newline="") as file:
        first, *_, last = csv.DictReader(file)
    assert (first["name"], first["images"], first["right"], first["predictions"]) == (names[0], "3", "2", "2")
    assert float(first["accuracy"]) == pytest.approx(2 / 3, abs=1e-6)
    # (2/3 + z^2/6 -+ z sqrt(2/27 + z^2/36)) / (1 + z^2/3), z = 1.959964
    assert (float(first["low"]), float(first["high"])) == pytest.approx((0.207660, 0.938508), abs=1e-6)
    assert float(last["accuracy"]) == 0.0


def test_a_class_without_images_has_no_accuracy(tmp_path):
    confusion = count_pairs([Answers(np.array([0]), np.array([0]), np.array([True]))], num_classes=2, num_outputs=2)
    _, _, row = certificate._per_class(confusion, ["a", "b"])
    assert row == (1, "b", 0, 0, "", "", "", 0)


def test_numbers_that_are_not_finite_are_null(tmp_path):
    written(tmp_path / "one", Totals(6, 3, 5, math.nan))
    content = json.loads((tmp_path / "one" / "certificate.json").read_text())
    assert content["eval"] == {"loss": None, "top1": 0.5, "top5": 5 / 6, "count": 6}
    assert content["not_finite"]["count"] == 1


def test_the_lines_name_the_worst_classes_and_mistakes(tmp_path):
    lines = certificate.lines(written(tmp_path / "one"), counted(), ["0", "1", "2", "class 3"], tmp_path / "one")
    assert lines == [
        "accuracy     top-1 50.00 % (18.76 to 81.24), top-5 83.33 % (43.65 to 96.99), n = 6",
        "loss         0.5000",
        "no answer    to 1 images, counted as wrong: outputs are NaN",
        "worst        0 of 2   0.00 %  2",
        "             2 of 3  66.67 %  0",
        "confused     1 x  0  taken for  1",
        "             1 x  2  taken for  nothing",
        "             1 x  2  taken for  class 3",
        f"results      {tmp_path}/one/",
        "             certificate.json, per_class.csv, confusion.csv, confusion.png",
    ]


def test_a_new_directory_takes_the_place_of_the_old_one_as_a_whole(tmp_path):
    directory = tmp_path / "one"
    written(directory)
    (directory / "of_the_old_one").touch()
    certificate.begin(directory)
    assert (directory / "of_the_old_one").exists()
    written(directory)
    assert not (directory / "of_the_old_one").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_kill_between_the_old_and_the_new_one_loses_neither(tmp_path):
    directory = tmp_path / "one"
    written(directory)
    directory.rename(tmp_path / "one.old")
    certificate.begin(directory)
    assert (directory / "certificate.json").exists()


def test_what_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    directory = tmp_path / "one"
    written(directory)
    monkeypatch.setattr(certificate, "draw", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(directory)
    assert [path.name for path in tmp_path.iterdir()] == ["one"] and (directory / "confusion.png").exists()
