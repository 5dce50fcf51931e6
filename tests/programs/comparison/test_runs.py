import pytest

from resnet_jax.errors import UsageError
from resnet_jax.programs.comparison.runs import find_runs
from tests.programs.comparison.evaluations import accuracies, evaluated, run


def test_a_run_is_found_by_its_directory_its_evaluation_and_the_files_of_it(tmp_path):
    word = run(tmp_path / "a", accuracies(9, 4))
    directory = tmp_path / "a" / "evaluations" / "1-digits"
    words = [word, str(directory), str(directory / "certificate.json"), str(directory / "answers.npz")]
    assert [one.directory for one in find_runs(words)] == [directory] * 4
    assert find_runs(words)[0].answers.right.sum() == 8


def test_the_newest_evaluation_on_data_that_all_runs_share_is_taken(tmp_path):
    other = {"data": {"sample_sha256": "cd" * 32}}
    run(tmp_path / "a", accuracies(9), time="2026-01-01", name="old")
    run(tmp_path / "a", accuracies(9), time="2026-01-03", name="new")
    run(tmp_path / "a", accuracies(9), time="2026-01-05", name="elsewhere", **other)
    run(tmp_path / "b", accuracies(9), time="2026-01-02")
    first, second = find_runs([str(tmp_path / "a"), str(tmp_path / "b")])
    assert (first.directory.name, second.directory.name) == ("new", "1-digits")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": {"sample_sha256": "cd" * 32}},
            "were evaluated on different images .digits.* evaluate both on",
        ),
        (
            {"fingerprint": "e1"},
            "with different classes, or the same in another order .* evaluate both",
        ),
        ({"label": [0, 1, 2, 0, 1, 1, 0, 1, 2]}, "with different labels, for example of 5.jpg: evaluate both"),
    ],
)
def test_other_data_classes_and_labels_are_refused_in_one_line(tmp_path, changes, message):
    words = [run(tmp_path / "a", accuracies(9)), run(tmp_path / "b", accuracies(9), **changes)]
    with pytest.raises(UsageError, match=message) as error:
        find_runs(words)
    assert "\n" not in str(error.value) and str(tmp_path / "b") in str(error.value)


def test_another_number_of_images_is_other_data(tmp_path):
    words = [run(tmp_path / "a", accuracies(9)), run(tmp_path / "b", accuracies(6))]
    with pytest.raises(UsageError, match="different images .digits:1.0.0/test with 9 images; .* with 6 images"):
        find_runs(words)


def test_an_image_that_one_run_could_not_read_is_no_difference(tmp_path):
    label = [0, 1, -1, 0, 1, 2, 0, 1, 2]
    words = [run(tmp_path / "a", accuracies(9)), run(tmp_path / "b", accuracies(9), label=label)]
    assert [one.answers.right.sum() for one in find_runs(words)] == [9, 8]


def test_a_run_without_an_evaluation_or_without_answers_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="none has no evaluation: name a run that --mode=eval has evaluated"):
        find_runs([str(tmp_path / "none")])
    directory = evaluated(tmp_path / "one", accuracies(3))
    (directory / "answers.npz").unlink()
    with pytest.raises(UsageError, match="one has no answers.npz, which earlier versions did not write: run"):
        find_runs([str(directory)])


@pytest.mark.parametrize("text", ["[]", '{"data": {}}', "{", '{"data": 3, "classes": {"fingerprint": 1}}'])
def test_a_damaged_certificate_is_one_line(tmp_path, text):
    directory = evaluated(tmp_path / "one", accuracies(3))
    (directory / "certificate.json").write_text(text)
    with pytest.raises(UsageError, match="certificate.json .*--mode=eval again"):
        find_runs([str(directory)])


def test_three_runs_that_share_data_only_in_pairs_are_one_line(tmp_path):
    x, y, z = ({"data": {"sample_sha256": digit * 64}} for digit in "123")
    pairs = {"a": (x, y), "b": (y, z), "c": (z, x)}
    for word, own in pairs.items():
        for number, data in enumerate(own):
            run(tmp_path / word, accuracies(9), name=str(number), **data)
    words = [str(tmp_path / word) for word in pairs]
    with pytest.raises(UsageError, match="no set is shared by all of them: compare two at a time"):
        find_runs(words)
