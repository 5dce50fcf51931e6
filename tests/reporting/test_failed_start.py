import json

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.reporting.workdir import Workdir


def fail(workdir, write, *, begin=False):
    """Locks the work directory, writes into it and fails."""
    with pytest.raises(UsageError, match="no data"), workdir.lock():
        write(workdir)
        if begin:
            workdir.begin()
        raise UsageError("no data")


def start(workdir):
    """Writes what a start writes before its first step."""
    workdir.record_start({"seed": 1}, {"start_step": 0}, class_names=["a"])
    workdir.metrics.touch()
    workdir.log.write_text("data ...")
    (workdir.path / "events.out.tfevents.1.host").touch()
    (workdir.path / ".train.00.record_index.npz").touch()
    workdir.checkpoints.mkdir()
    (workdir.evaluations / "one.part").mkdir(parents=True)


def names(path):
    return sorted(file.name for file in path.iterdir())


def test_a_failed_start_leaves_nothing(tmp_path):
    fail(Workdir(tmp_path / "runs" / "one"), start)
    assert names(tmp_path) == []


def test_a_directory_of_the_user_and_its_files_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "plots").mkdir()
    fail(Workdir(tmp_path), start)
    assert names(tmp_path) == ["notes.txt", "plots"]


def test_a_directory_that_is_not_empty_stays_with_what_the_error_names(tmp_path):
    workdir = Workdir(tmp_path / "run")
    fail(workdir, lambda made: made.bad_examples.touch())
    assert names(workdir.path) == ["bad_examples.jsonl"]


def test_a_run_that_was_there_is_as_before(tmp_path):
    workdir = Workdir(tmp_path / "run")
    with workdir.lock():
        workdir.record_start({"seed": 0}, {"start_step": 0}, class_names=["a"])
        (workdir.checkpoints / "3").mkdir(parents=True)
        workdir.write_result({"stop_reason": "max_steps"})
    before = {path: path.read_bytes() for path in workdir.path.glob("*.json")}
    again = Workdir(tmp_path / "run")
    fail(again, lambda made: made.record_start({"seed": 1}, {"start_step": 3}, class_names=["a"]))
    assert {path: path.read_bytes() for path in workdir.path.glob("*.json")} == before
    assert (workdir.checkpoints / "3").exists() and (workdir.path / ".lock").exists()


def test_what_has_begun_stays(tmp_path):
    workdir = Workdir(tmp_path / "run")
    fail(workdir, start, begin=True)
    assert json.loads((workdir.path / "config.json").read_text()) == {"seed": 1} and workdir.log.exists()


def test_who_does_not_get_the_lock_removes_nothing(tmp_path):
    with Workdir(tmp_path / "run").lock():
        with pytest.raises(UsageError, match="another process is at work"), Workdir(tmp_path / "run").lock():
            pass
        assert names(tmp_path / "run") == [".lock"]
