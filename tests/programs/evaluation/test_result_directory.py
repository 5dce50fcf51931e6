import csv

import pytest

from resnet_jax.programs.evaluation import result_directory
from resnet_jax.programs.evaluation.confusion import count_pairs
from tests.programs.evaluation.example import answers_of, written


def test_the_tables_contain_the_counts(tmp_path):
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
    confusion = count_pairs([answers_of([0], [0])], num_classes=2, num_outputs=2)
    _, _, row = result_directory.per_class_rows(confusion, ["a", "b"])
    assert row == (1, "b", 0, 0, "", "", "", 0)


def test_a_new_result_replaces_the_old_directory_completely(tmp_path):
    directory = tmp_path / "one"
    written(directory)
    (directory / "of_the_old_one").touch()
    result_directory.begin(directory)
    assert (directory / "of_the_old_one").exists()
    written(directory)
    assert not (directory / "of_the_old_one").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_kill_while_replacing_keeps_the_old_result(tmp_path):
    directory = tmp_path / "one"
    written(directory)
    directory.rename(tmp_path / "one.old")
    result_directory.begin(directory)
    assert (directory / "certificate.json").exists()


def test_an_error_while_writing_keeps_the_old_result(tmp_path, monkeypatch):
    directory = tmp_path / "one"
    written(directory)
    monkeypatch.setattr(result_directory, "plot_confusion", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(directory)
    assert [path.name for path in tmp_path.iterdir()] == ["one"] and (directory / "confusion.png").exists()


def test_leftovers_of_any_kind_stop_no_evaluation(tmp_path):
    (tmp_path / "precious").mkdir()
    for name in ("one.part", "one.old"):
        (tmp_path / name).touch()
        (tmp_path / f"link to {name}").symlink_to(tmp_path / "precious")
    (tmp_path / "linked.part").symlink_to(tmp_path / "precious")
    written(tmp_path / "one")
    written(tmp_path / "one")
    assert (tmp_path / "one" / "certificate.json").exists() and (tmp_path / "precious").exists()
    assert not any((tmp_path / name).exists() for name in ("one.part", "one.old", "linked.part"))
