"""report.html of one run and of several: complete, without links to the network, whatever the files contain."""

import json

import numpy as np
import pytest

from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError
from resnet_jax.programs.command import Command
from resnet_jax.programs.report import at_the_end, main, page
from resnet_jax.programs.report.contents import read_run
from resnet_jax.programs.report.evaluated import Images, evaluation
from resnet_jax.programs.report.page import run_page
from resnet_jax.programs.report.settings import differences, settings
from resnet_jax.reporting.workdir import Workdir
from tests.programs.report.made_up_runs import Page, make_run

RIGHT = np.arange(300) % 5 > 0  # 240 of 300


class Source:
    """Evaluation images of which each has its number as color; named as in the made-up evaluations."""

    class_names = ("cat", "dog", "emu")

    def __init__(self, first=0):
        self.first = first

    def __len__(self):
        return 300

    def __getitem__(self, index):
        return Example(np.full((20, 30, 3), index % 256, np.uint8), index % 3)

    def example_id(self, index):
        return f"{index + self.first}.jpg"

    def where(self, index):
        return str(index)

    def right_labels(self, index):
        return None


def test_the_page_of_a_run_has_its_numbers_and_no_links(tmp_path):
    run = make_run(tmp_path / "first", right=RIGHT)
    content = run_page(read_run(run), None)
    page = Page(content)
    assert "http" not in content and "@import" not in content
    assert all(link.startswith("#") for link in page.links)
    for words in ("88.89 % top-1 at the end", "400 / 400 of the steps", "0:40", "2 x cpu", "python 3.11.7", "a<b>"):
        assert words in page.text, words
    assert page.tags.count("svg") == 6 and page.tags.count("polyline") == 9


def test_of_several_runs_one_without_evaluations_has_the_curve_of_its_training(tmp_path):
    runs = [read_run(make_run(tmp_path / name)) for name in ("a", "b", "c")]
    runs[1] = runs[1]._replace(metrics={"train": runs[1].metrics["train"]})
    curves = page._both(runs, "top1", 100.0, alone=False)
    assert [(curve.name, curve.dashed) for curve in curves] == [("a", False), ("b", True), ("c", False)]


def test_settings_say_where_their_values_come_from(tmp_path):
    run = read_run(make_run(tmp_path / "first", seed=5))
    found = {one.key: one for one in settings(run.config, run.starts)}
    assert found["data.batch_size"].source == found["seed"].source == "command line"
    assert found["model.name"].source == "recipe digits" and found["model.name"].value == "resnet_cifar"
    assert found["optimizer.momentum"].source == "default"
    text = Page(run_page(run, None)).text
    assert "data.batch_size 64 command line" in text and "model.name 'resnet_cifar' recipe digits" in text


def test_confused_pairs_and_errors_are_shown_with_their_images(tmp_path):
    run = read_run(make_run(tmp_path / "first", right=RIGHT))
    page = Page(evaluation(run.evaluations[0], Images(Source(), 10**6)))
    assert "80.00 % top-1" in page.text and "cat taken for dog: 20 of 100" in page.text
    assert len(page.sources) == 3 * 6 + 24 and all(one.startswith("data:image/png;base64,") for one in page.sources)
    assert "dog 75 % is cat" in page.text


@pytest.mark.parametrize("images", [None, Images(Source(first=1), 10**6)], ids=["no data", "other data"])
def test_images_of_other_data_are_not_shown(tmp_path, images):
    run = read_run(make_run(tmp_path / "first", right=RIGHT))
    page = Page(evaluation(run.evaluations[0], images))
    assert page.sources == [] and "0.jpg cat dog 75.0 %" in page.text


def test_the_end_of_a_run_says_what_comes_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert at_the_end.next_commands(Workdir("runs/my first")) == [
        "to evaluate  resnet-jax '--workdir=runs/my first' --mode=eval",
        "then report  resnet-jax --mode=report 'runs/my first'",
        "to predict   resnet-jax '--workdir=runs/my first' --mode=predict IMAGE",
    ]


def test_the_end_of_a_run_writes_the_page(tmp_path):
    run = make_run(tmp_path / "first", right=RIGHT)
    at_the_end.write_at_the_end(Workdir(run))
    text = Page((run / "report.html").read_text()).text
    assert "--mode=report shows the images of these evaluations" in text


@pytest.mark.parametrize("name", ["run.json", "result.json", "metrics.jsonl", "config.json", "bad_examples.jsonl"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"starts": [{}]}', b'{"step": 1, "split": "train"}']
)
def test_damaged_files_leave_their_part_out(tmp_path, name, content, caplog):
    run = make_run(tmp_path / "first", right=RIGHT)
    (run / name).write_bytes(content)
    at_the_end.write_at_the_end(Workdir(run))
    Page((run / "report.html").read_text())
    assert not caplog.records


@pytest.mark.parametrize("name", ["answers.npz", "certificate.json"])
def test_damaged_evaluations_are_left_out(tmp_path, name):
    run = make_run(tmp_path / "first", right=RIGHT)
    next((run / "evaluations").rglob(name)).write_bytes(b"nothing")
    assert "Most confident errors" not in Page(run_page(read_run(run), None)).text


def test_names_are_text_and_not_html(tmp_path):
    run = make_run(tmp_path / "<script>alert(1)</script>", right=RIGHT)
    record = {"source": "a", "index": 1, "where": "<img src=x>", "error": "\x1b[31m&"}
    (run / "bad_examples.jsonl").write_text(json.dumps(record) + "\n")
    page = Page(run_page(read_run(run), None))
    assert "script" not in page.tags and page.sources == []
    assert "<img src=x> \\x1b[31m&" in page.text


def test_several_runs_are_shown_together_and_compared(tmp_path):
    better = RIGHT | (np.arange(300) % 10 == 0)
    first = make_run(tmp_path / "first", right=RIGHT)
    second = make_run(tmp_path / "second", right=better, seed=1, **{"optimizer.momentum": 0.8})
    assert main.main(Command("report", None, str(tmp_path / "out"), paths=(str(first), str(second)))) == 0
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.startswith("first-second-")
    page = Page((path / "report.html").read_text())
    assert "B is better by 10.00 points (95 %: " in page.text and "n = 300; p < 0.000001)" in page.text
    assert "optimizer.momentum 0.9 0.8" in page.text and "seed 0 1" in page.text
    assert page.tags.count("polyline") == 2 * 5
    assert differences([{"a": 1, "b": (1, 2)}, {"a": 2, "b": [1, 2]}]) == {"a": [1, 2]}


def test_each_pair_of_runs_has_a_report_of_its_own(tmp_path, capsys):
    runs = [str(make_run(tmp_path / name)) for name in ("a", "b", "x/b")]
    written = []
    for pair in (runs[:2], runs[::2], runs[1::-1], runs[:2]):
        assert main.main(Command("report", None, str(tmp_path / "out"), paths=tuple(pair))) == 0
        written.append(capsys.readouterr().out.split()[1].rstrip(","))
    assert written[0] == written[3] and len(set(written)) == len(list((tmp_path / "out").iterdir())) == 3
    assert all(str(tmp_path / "out") in path and path.endswith("/report.html") for path in written)


def test_runs_without_evaluations_are_shown_without_a_comparison(tmp_path):
    runs = [make_run(tmp_path / name / "same", result=name == "a") for name in "ab"]
    assert main.main(Command("report", None, str(tmp_path / "out"), paths=tuple(map(str, runs)))) == 0
    text = Page(next((tmp_path / "out").glob("*/report.html")).read_text()).text
    assert "has no evaluation: name a run that --mode=eval has evaluated" in text and "not finished" in text
    assert f"{tmp_path}/a/same" in text


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UsageError, match="holds no run: name the directory of a run"):
        main.main(Command("report", None, str(tmp_path)))
    with pytest.raises(UsageError, match="25 runs are more than 24"):
        main.main(Command("report", None, str(tmp_path), paths=tuple(map(str, range(25)))))


def test_a_run_whose_data_are_gone_has_a_page_without_images(tmp_path, capsys):
    run = make_run(tmp_path / "first", right=RIGHT, **{"data.source": "folder", "data.data_dir": "/nowhere"})
    assert main.main(Command("report", None, str(run))) == 0
    assert "No images: there is no folder /nowhere" in Page((run / "report.html").read_text()).text
