import pytest

from resnet_jax.reporting.run_record import summary
from resnet_jax.reporting.workdir import Workdir

RESULT = {
    "step": 60,
    "total_steps": 60,
    "stop_reason": "completed",
    "eval": {"step": 60, "loss": 0.1, "top1": 0.9875, "top5": 1.0, "count": 1360},
    "best": {"step": 1030, "top1": 0.99},
    "bad_examples": 0,
    "images_per_second": 1234.5,
    "seconds": {"compile": 3.2, "step": 61.0, "total": 64.2},
}


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    return Workdir("runs/mine")


def test_says_everything_with_paths_from_here(workdir):
    assert summary(RESULT, workdir) == [
        "accuracy     top-1 98.75 %, top-5 100.00 %, n = 1,360",
        "best         top-1 99.00 % at step 1,030",
        "time         compile    0:03    5.0 %",
        "             step       1:01   95.0 %",
        "             total      1:04  100.0 %",
        "rate         1,234 images/s while training",
        "results      runs/mine/result.json, metrics.jsonl, train.log",
        "checkpoints  runs/mine/checkpoints",
    ]


def test_names_the_report_where_there_is_one(workdir):
    workdir.report.touch()
    assert any(line.startswith("report       runs/mine/report.png") for line in summary(RESULT, workdir))


def test_names_tensorboard_where_there_are_event_files(workdir):
    (workdir.path / "events.out.tfevents.1.host").touch()
    assert summary(RESULT, workdir)[-1].endswith("tensorboard --logdir runs/mine")


def test_leaves_out_what_was_not_measured(workdir):
    lines = summary(RESULT | {"eval": None, "best": None, "images_per_second": None}, workdir)
    assert [line.split()[0] for line in lines] == ["time", "step", "total", "results", "checkpoints"]


def test_counts_what_could_not_be_read(workdir):
    lines = summary(RESULT | {"bad_examples": 1234}, workdir)
    assert "unreadable   1,234 images: runs/mine/bad_examples.jsonl" in lines
