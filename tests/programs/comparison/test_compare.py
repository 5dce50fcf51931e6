import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from resnet_jax.errors import UsageError
from resnet_jax.programs.command import Command
from resnet_jax.programs.comparison import main as program
from resnet_jax.programs.comparison.compare import compare, grouped
from resnet_jax.programs.comparison.lines import comparison_lines, sentence
from resnet_jax.programs.comparison.picture import plot_comparison
from resnet_jax.programs.comparison.runs import find_runs
from resnet_jax.programs.comparison.statistics import over_images
from tests.paths import ROOT
from tests.programs.comparison.evaluations import accuracies, run


def compared(tmp_path, *groups):
    """Compares groups of runs; each run is given by the images that it gets right."""
    made = []
    for k, group in enumerate(groups):
        words = [run(tmp_path / f"{k}-{s}", right) for s, right in enumerate(group)]
        made.append(words)
    runs = iter(find_runs([word for words in made for word in words]))
    return compare([[next(runs) for _ in words] for words in made])


def test_words_are_single_runs_or_groups_of_seeds():
    assert grouped(["a", "b", "c"]) == [["a"], ["b"], ["c"]]
    assert grouped(["a", "b", "vs", "c", "d"]) == [["a", "b"], ["c", "d"]]
    for words in ([], ["a"], ["a", "vs"], ["vs", "a", "b"]):
        with pytest.raises(UsageError, match="--mode=compare needs two runs or more: --mode=compare RUN RUN"):
            grouped(words)
    with pytest.raises(UsageError, match="the groups have 2 vs 1 runs: name as many runs, of the same seeds"):
        grouped(["a", "b", "vs", "c"])


def test_a_better_run_is_told_apart_with_its_interval(tmp_path):
    found = compared(tmp_path, [accuracies(900, *range(40, 80))], [accuracies(900, *range(35, 45))])
    (one,) = found.differences
    # 35 only by the second (45..79), 5 only by the first (35..39).
    assert (one.only_first, one.only_second, one.told_apart) == (5, 35, True)
    expected = over_images(accuracies(900, *range(40, 80)), accuracies(900, *range(35, 45)))
    assert one.estimate == expected and one.p == expected.p < 1e-5
    low, high = (f"{100 * end:.2f}" for end in expected[1:3])
    assert sentence(found, one) == f"B is better by 3.33 points (95 %: {low} to {high}; n = 900; p = {one.p:.2g})"
    backwards = compared(tmp_path / "2", [accuracies(900, *range(35, 45))], [accuracies(900, *range(40, 80))])
    assert sentence(backwards, backwards.differences[0]) == "A" + sentence(found, one)[1:]


def test_equal_runs_are_not_told_apart(tmp_path):
    found = compared(tmp_path, [accuracies(900, 1, 2)], [accuracies(900, 2, 3, 4)])
    text = sentence(found, found.differences[0])
    assert text.startswith("A and B are not told apart: B minus A is -0.11 points (95 %: -") and "p = 1)" in text
    same = compared(tmp_path / "2", [accuracies(900, 1)], [accuracies(900, 1)])
    assert "is 0.00 points" in sentence(same, same.differences[0])


def test_classes_that_differ_beyond_chance_are_named(tmp_path):
    dogs = np.arange(1, 900, 3)
    found = compared(tmp_path, [accuracies(900, *dogs[:60], 0)], [accuracies(900, *dogs[:2], 3, 6)])
    assert [(one.number, one.images, one.only_first, one.only_second, one.told_apart) for one in found.classes] == [
        (0, 300, 2, 1, False),
        (1, 300, 0, 58, True),
        (2, 300, 0, 0, False),
    ]
    assert found.classes[1].p == pytest.approx(3 * 2 * 0.5**58)  # Holm: times the number of classes
    lines = comparison_lines(found)
    assert "             B better than A in dog: 58 to 0 of 300 images" in lines
    assert "classes      1 of 3 told apart (Holm's correction)" in lines


def test_more_than_two_runs_are_compared_at_once_first(tmp_path):
    alike = compared(tmp_path, *[[accuracies(900, k, k + 1)] for k in (0, 5, 10)])
    assert alike.omnibus[1] > 0.9 and not any(one.told_apart for one in alike.differences)
    third = accuracies(900, *range(100, 160))
    found = compared(tmp_path / "2", [accuracies(900, 1)], [accuracies(900, 2)], [third])
    assert found.omnibus[1] < 1e-20 and [one.told_apart for one in found.differences] == [False, True, True]
    smallest = over_images(accuracies(900, 1), third).p
    assert found.differences[1].p == pytest.approx(3 * smallest)  # Holm over the three pairs
    lines = comparison_lines(found)
    assert any(line.startswith("all          Cochran's Q = ") and line.endswith("the runs differ") for line in lines)
    assert sum("A is better than C by 6.56 points" in line for line in lines) == 1


def test_seeds_are_paired_in_their_order(tmp_path):
    first = [accuracies(900, *range(count)) for count in (30, 60, 90)]
    second = [accuracies(900, *range(count)) for count in (20, 47, 81)]
    found = compared(tmp_path, first, second)
    (one,) = found.differences
    differences = np.array([10, 13, 9]) / 900
    error = differences.std(ddof=1) / np.sqrt(3)
    assert one.estimate.value == pytest.approx(differences.mean())
    assert one.estimate.high - one.estimate.value == pytest.approx(4.302653 * error, rel=1e-6)  # t of 2 degrees
    assert one.told_apart and found.omnibus is None
    assert sentence(found, one).startswith("B is better by 1.19 points (95 %: ")
    assert "3 seeds, n = 900 images" in sentence(found, one)
    assert comparison_lines(found)[0].startswith("accuracy     A  top-1 93.33 % (mean of 96.67, 93.33, 90.00)")


def test_equal_differences_of_all_seeds_have_no_interval(tmp_path):
    found = compared(tmp_path, [accuracies(900, 1), accuracies(900, 2)], [accuracies(900), accuracies(900)])
    text = sentence(found, found.differences[0])
    assert "not told apart" in text and "no interval: every pair of seeds differs by the same number" in text


AT_808 = {"path": "runs/a/checkpoints/808", "step": 808, "kind": "trained"}
AVERAGE = {"path": "averages/average-of-2-674-to-808", "step": 808, "kind": "ema", "statistics_images": 10_048}


def accuracy_lines(tmp_path, *groups):
    """The lines of accuracies of groups of runs, each run given by the evaluated weights."""
    made = iter(
        find_runs(
            [
                run(tmp_path / f"{k}-{s}", accuracies(90, k), weights=weights)
                for k, group in enumerate(groups)
                for s, weights in enumerate(group)
            ]
        )
    )
    lines = comparison_lines(compare([[next(made) for _ in group] for group in groups]))[: len(groups)]
    return [line.split(f"  {tmp_path}/", 1)[1].replace(f"{tmp_path}/", "") for line in lines]


def test_each_run_has_the_weights_that_were_evaluated(tmp_path):
    average = "average-of-2-674-to-808, moving average of the weights, batch norm statistics of 10,048 training crops"
    assert accuracy_lines(tmp_path, [AT_808], [AVERAGE], [{"path": "resnet50.safetensors", "kind": None}]) == [
        "0-0 (step 808, trained weights)",
        f"1-0 ({average})",
        "2-0 (resnet50.safetensors)",
    ]


def test_weights_of_seeds_are_listed_once_if_they_are_the_same_step(tmp_path):
    earlier = AT_808 | {"path": "runs/b/checkpoints/1000", "step": 1000}
    assert accuracy_lines(tmp_path, [AT_808, AT_808], [AT_808, earlier]) == [
        "0-0, 0-1 (each step 808, trained weights)",
        "1-0 (step 808, trained weights), 1-1 (step 1,000, trained weights)",
    ]


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_picture_has_a_row_for_each_run_and_pair(tmp_path, seeds):
    rng = np.random.default_rng(0)
    found = compared(tmp_path, *[[rng.random(600) < 0.6 + 0.1 * k for _ in range(seeds)] for k in range(3)])
    figure = plot_comparison(found)
    FigureCanvasAgg(figure).draw()
    above, middle, _ = figure.axes
    assert len(above.get_yticks()) == 3 and len(middle.get_yticks()) == 3
    labels = [text.get_text() for text in middle.get_yticklabels()]
    assert labels == ["B minus A", "C minus A", "C minus B"]


def test_the_program_writes_table_classes_and_picture(tmp_path, capsys):
    words = [run(tmp_path / "a", accuracies(90, *range(20))), run(tmp_path / "b", accuracies(90, 3))]
    assert program.main(Command("compare", None, str(tmp_path / "out"), tuple(words))) == 0
    (directory,) = (tmp_path / "out").iterdir()
    assert directory.name.startswith("a-b-")
    assert {path.name for path in directory.iterdir()} == {"comparison.json", "comparison.png", "classes.csv"}
    content = json.loads((directory / "comparison.json").read_text())
    assert content["differences"][0]["only_second"] == 19 and content["differences"][0]["told_apart"] is True
    assert content["runs"][1]["top1"] == [89 / 90] and content["results"][0] in capsys.readouterr().out
    rows = list(csv.DictReader((directory / "classes.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["cat", "dog", "emu"] and rows[0]["only second"] in ("6", "7")


def test_the_command_needs_no_config_and_no_device(tmp_path):
    words = [run(tmp_path / "a", accuracies(90, 1)), run(tmp_path / "b", accuracies(90, 3))]
    environment = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "no_such_device"}
    command = [sys.executable, "-m", "resnet_jax", "--mode=compare", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "A and B are not told apart: B minus A is 0.00 points" in done.stdout
    assert (tmp_path / "runs" / "compare").is_dir()
