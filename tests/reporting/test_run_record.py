import logging

import pytest

from resnet_jax.reporting import report_picture
from resnet_jax.reporting.run_record import end_record, log_end, summary
from resnet_jax.reporting.time_accounting import PHASES
from resnet_jax.reporting.workdir import Workdir


@pytest.fixture
def workdir(tmp_path):
    made = Workdir(tmp_path / "run")
    made.path.mkdir()
    made.metrics.write_text("")
    return made


def ended(workdir, caplog, **changes):
    """The log lines of a run that ended with these changes to its result."""
    seconds = dict.fromkeys(PHASES, 0.0) | {"step": 60.0, "total": 100.0}
    result = {"step": 6, "total_steps": 6, "stop_reason": "completed", "eval": None, "best": None, "bad_examples": 0}
    result |= {"images_per_second": 10.0, "seconds": seconds, "programs_compiled_later": 0}
    with caplog.at_level(logging.INFO, logger="resnet_jax"):
        end_record(result | changes, workdir)
        log_end(result | changes, workdir, decoders={"source": "tfds", "num_workers": 0, "num_threads": 2, "cores": 2})
    return [record.getMessage() for record in caplog.records]


def test_a_run_leaves_its_result_and_its_picture(workdir, caplog):
    logged = ended(workdir, caplog)
    assert workdir.result.exists() and workdir.report.exists()
    assert not any(line.startswith(("limit", "compiled")) for line in logged)


def test_a_report_that_cannot_be_drawn_is_one_log_line_and_no_failure(workdir, caplog, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no font\nat all")

    monkeypatch.setattr(report_picture, "write_report", fail)
    logged = ended(workdir, caplog)
    assert f"{workdir.report} could not be drawn: no font at all" in logged
    assert workdir.result.exists() and any(line.startswith("speed ") for line in logged)


def test_the_bottleneck_of_a_run_is_logged(workdir, caplog):
    seconds = dict.fromkeys(PHASES, 0.0) | {"step": 60.0, "input": 40.0, "total": 100.0}
    logged = ended(workdir, caplog, seconds=seconds, programs_compiled_later=2)
    assert any(line.startswith("limit        Input-bound: the devices waited 40 % of the time") for line in logged)
    assert any(line.startswith("compiled     2 programs after the first step") for line in logged)


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


def test_five_classes_have_no_top_5(here):
    lines = summary(RESULT | {"eval": RESULT["eval"] | {"top5": None}}, here)
    assert lines[0] == "accuracy     top-1 98.75 %, n = 1,360"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    return Workdir("runs/mine")


def test_a_summary_has_everything_with_relative_paths(here):
    assert summary(RESULT, here) == [
        "accuracy     top-1 98.75 %, top-5 100.00 %, n = 1,360",
        "best         top-1 99.00 % at step 1,030",
        "time         compile    0:03    5.0 %",
        "             step       1:01   95.0 %",
        "             total      1:04  100.0 %",
        "speed        1,234 images/s while training",
        "results      runs/mine/result.json, metrics.jsonl, train.log",
        "checkpoints  runs/mine/checkpoints",
    ]


def test_a_summary_names_the_report_if_it_exists(here):
    here.report.touch()
    assert any(line.startswith("report       runs/mine/report.png: loss, ") for line in summary(RESULT, here))
    here.report_page.touch()
    text = (
        "report       runs/mine/report.html, report.png: loss, accuracy, learning rate, speed, and where the time went"
    )
    assert text in summary(RESULT, here)


def test_a_summary_names_tensorboard_if_there_are_event_files(here):
    (here.path / "events.out.tfevents.1.host").touch()
    assert summary(RESULT, here)[-1].endswith("tensorboard --logdir runs/mine")


def test_a_summary_leaves_out_what_was_not_measured(here):
    lines = summary(RESULT | {"eval": None, "best": None, "images_per_second": None}, here)
    assert [line.split()[0] for line in lines] == ["time", "step", "total", "results", "checkpoints"]


def test_a_summary_counts_unreadable_images(here):
    lines = summary(RESULT | {"bad_examples": 1234}, here)
    assert "unreadable   1,234 images: runs/mine/bad_examples.jsonl" in lines
