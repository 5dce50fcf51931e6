import logging

import pytest

from resnet_jax.reporting import report_picture
from resnet_jax.reporting.run_record import end_record
from resnet_jax.reporting.time_accounting import PHASES
from resnet_jax.reporting.workdir import Workdir


@pytest.fixture
def workdir(tmp_path):
    made = Workdir(tmp_path / "run")
    made.path.mkdir()
    made.metrics.write_text("")
    return made


def ended(workdir, caplog, **changes):
    """What is said of a run that ended so."""
    seconds = dict.fromkeys(PHASES, 0.0) | {"step": 60.0, "total": 100.0}
    result = {"step": 6, "total_steps": 6, "stop_reason": "completed", "eval": None, "best": None, "bad_examples": 0}
    result |= {"images_per_second": 10.0, "seconds": seconds, "programs_compiled_later": 0}
    with caplog.at_level(logging.INFO, logger="resnet_jax"):
        end_record(result | changes, workdir, decoders={"num_workers": 0, "num_threads": 2, "cores": 2})
    return [record.getMessage() for record in caplog.records]


def test_a_run_leaves_its_result_and_its_picture(workdir, caplog):
    said = ended(workdir, caplog)
    assert workdir.result.exists() and workdir.report.exists()
    assert not any(line.startswith(("limit", "compiled")) for line in said)


def test_a_picture_that_cannot_be_drawn_is_one_line_and_no_failure(workdir, caplog, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no font\nat all")

    monkeypatch.setattr(report_picture, "draw", fail)
    said = ended(workdir, caplog)
    assert f"{workdir.report} is not drawn: no font at all" in said
    assert workdir.result.exists() and any(line.startswith("rate ") for line in said)


def test_what_held_a_run_up_is_said(workdir, caplog):
    seconds = dict.fromkeys(PHASES, 0.0) | {"step": 60.0, "input": 40.0, "total": 100.0}
    said = ended(workdir, caplog, seconds=seconds, programs_compiled_later=2)
    assert any(line.startswith("limit        Input-bound: the devices waited 40 % of the time") for line in said)
    assert any(line.startswith("compiled     2 programs after the first step") for line in said)
