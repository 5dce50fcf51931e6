"""Damaged files of a work directory: one line that names the file and the cure, or the file is made again."""

import json
import os

import numpy as np
import pytest

from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.errors import UsageError
from resnet_jax.nested import has_shape
from resnet_jax.reporting import metrics_file
from resnet_jax.reporting.workdir import Workdir
from tests.kinds_of_files import NO_DIRECTORIES, NO_FILES

SETTINGS = {"seed": 0, "train": {"max_steps": None}}
RESULT = {"step": 3, "total_steps": 3, "stop_reason": "completed", "eval": None, "seconds": {"step": 1.0}}
LINE = {"step": 5, "split": "train", "loss": 1.0}
BAD = {"source": "a", "index": 3, "where": "x.jpg", "error": "cut short"}
NAMES = ["config.json", "run.json", "classes.json", "result.json", "metrics.jsonl", "bad_examples.jsonl"]
CONTENTS = {
    "not UTF-8": b'{"step": 5, \xb0"split": "train"}\n',
    "UTF-16": '{"step": 5}\n'.encode("utf-16"),
    "cut short": b'{"st',
    "empty": b"",
    "zeros": b"\0" * 100,
    "a list": b"[1]\n",
    "a number": b"3\n",
    "null": b"null\n",
    "a text": b'"completed"\n',
    "an empty object": b"{}\n",
    "nested too deeply": b"[" * 100_000,
    "an endless number": b'{"step": ' + b"9" * 5000 + b"}",
    "other types": b'{"starts": 5, "step": "x", "split": 3, "stop_reason": 3, "source": [], "train": 7, "data": 1}\n',
    "types inside": b'{"starts": [3], "step": 5, "stop_reason": "completed", "seconds": {"step": "long"}}\n',
    "infinite values": b'{"step": 1e400, "stop_reason": "completed", "seconds": {"step": Infinity, "eval": NaN}}\n',
}


@pytest.fixture
def workdir(tmp_path):
    """The work directory of a finished run with a checkpoint."""
    made = Workdir(tmp_path / "run")
    made.path.mkdir()
    made.record_start(SETTINGS, {"start_step": 0}, class_names=["a"])
    made.write_result(RESULT)
    made.metrics.write_text(json.dumps(LINE) + "\n")
    made.bad_examples.write_text(json.dumps(BAD) + "\n")
    (made.checkpoints / "10").mkdir(parents=True)
    return made


def use_all(workdir):
    """Reads every file of a work directory, as a start does. Returns the messages of the errors."""
    messages = []
    for action in (
        lambda: workdir.check(SETTINGS, may_change=()),
        lambda: workdir.finished(SETTINGS),
        lambda: workdir.check_classes(["a"]),
        lambda: metrics_file.read_columns(workdir.metrics),
        lambda: metrics_file.drop_lines_after(workdir.metrics, 9),
        lambda: BadExamples(workdir.bad_examples, at_most=5),
        lambda: workdir.record_start(SETTINGS, {}, class_names=["a"]),
    ):
        try:
            action()
        except UsageError as error:
            messages.append(str(error))
    return messages


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", NAMES)
def test_damaged_content_is_left_out_or_one_line(name, content, workdir, caplog):
    path = workdir.path / name
    path.write_bytes(content)
    messages = use_all(workdir)
    if name == "config.json":  # what the run was trained with can be found nowhere else
        [message] = messages
        assert str(workdir.path) in message and "\n" not in message
        assert "restore it from a copy; or move it away" in message or "holds a run of another config" in message
    else:
        assert messages == []
    assert all("\n" not in line and str(path) in line for line in caplog.messages)
    assert use_all(workdir) == []
    kept = [path.read_bytes() for path in workdir.path.glob(f"{name}.damaged*")]
    assert kept in ([], [content])
    assert bool(kept) == bool(caplog.messages)


def test_what_is_set_aside_is_said(workdir, caplog):
    for name in ("run.json", "classes.json", "result.json"):
        (workdir.path / name).write_text("[1]")
    assert workdir.finished(SETTINGS) is None
    assert not workdir.result.exists()  # the run continues from its newest checkpoint
    assert use_all(workdir) == []
    assert [line.partition(" is damaged: it was moved to ")[0] for line in caplog.messages] == [
        str(workdir.path / name) for name in ("result.json", "classes.json", "run.json")
    ]
    assert json.loads((workdir.path / "run.json").read_text()) == {"starts": [{}]}


def test_a_result_of_an_earlier_version_has_defaults(workdir):
    workdir.write_result({"step": 3, "stop_reason": "completed"})
    result = workdir.finished(SETTINGS)
    assert result["total_steps"] == 3 and result["seconds"] == {} and result["best"] is None


def test_damaged_lines_of_metrics_are_left_out_and_the_file_is_kept(workdir, caplog):
    lines = [
        json.dumps(LINE).encode(),
        b"\xff\xfe",
        b'{"step": 6}',
        b'{"step": "7"}',
        json.dumps(LINE).encode(),
        b'{"s',
    ]
    workdir.metrics.write_bytes(b"\n".join(lines))
    metrics_file.drop_lines_after(workdir.metrics, 5)
    assert workdir.metrics.read_bytes().splitlines() == [lines[0], lines[4]]
    assert (workdir.path / "metrics.jsonl.damaged").read_bytes().splitlines() == lines
    [line] = caplog.messages
    assert line.startswith(f"2 lines of {workdir.metrics} are damaged: they are left out; the old file is ")


def test_a_last_line_without_its_end_gets_one(workdir):
    workdir.metrics.write_text(json.dumps(LINE))
    metrics_file.drop_lines_after(workdir.metrics, 5)
    assert workdir.metrics.read_text() == json.dumps(LINE) + "\n"


def test_values_of_metrics_that_are_no_numbers_are_nan(workdir):
    values = [1.5, "x", None, [1], True, 10**400]
    workdir.metrics.write_text("".join(json.dumps(LINE | {"loss": value}) + "\n" for value in values))
    loss = metrics_file.read_columns(workdir.metrics)["train"]["loss"]
    np.testing.assert_array_equal(loss, [1.5] + [np.nan] * 5)


def test_damaged_lines_of_the_list_of_unreadable_images_are_left_out(workdir):
    others = [b"[1]", b"\xff", b"{}", json.dumps(BAD | {"index": -1}).encode(), json.dumps(BAD | {"where": 3}).encode()]
    workdir.bad_examples.write_bytes(b"\n".join([*others, json.dumps(BAD).encode()]))
    assert len(BadExamples(workdir.bad_examples, at_most=5)) == 1


@pytest.mark.parametrize(("kind", "make"), NO_FILES)
@pytest.mark.parametrize("name", [*NAMES, "train.log", "report.png", "report.html", "inputs.png", ".lock"])
def test_a_directory_in_the_place_of_a_file_is_one_line(name, kind, make, workdir):
    path = workdir.path / name
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises(UsageError) as caught, workdir.lock():
        pass
    assert str(caught.value) == f"{path} is {kind}, and a file is needed there: move it away and run again"
    assert os.path.lexists(path)


@pytest.mark.parametrize("name", ["checkpoints", "damaged_checkpoints", "evaluations", "code", "averages", "replays"])
def test_a_file_in_the_place_of_a_directory_is_one_line(name, tmp_path):
    for number, (kind, make) in enumerate(NO_DIRECTORIES):
        workdir = Workdir(tmp_path / str(number))
        workdir.path.mkdir()
        make(workdir.path / name)
        with pytest.raises(UsageError, match=f"{name} is {kind}, and a directory is needed there"), workdir.lock():
            pass


def test_a_file_may_be_a_link_to_another_disk(workdir, tmp_path):
    workdir.log.symlink_to(tmp_path / "train.log")  # which the run creates
    workdir.metrics.rename(tmp_path / "metrics.jsonl")
    workdir.metrics.symlink_to(tmp_path / "metrics.jsonl")
    with workdir.lock():
        assert use_all(workdir) == []


def test_files_of_the_user_are_not_touched_by_a_start_that_fails(workdir):
    os.mkfifo(workdir.path / "pipe.json")  # reading it would never end
    (workdir.path / "mine.json").mkdir()
    with pytest.raises(RuntimeError), workdir.lock():
        (workdir.path / "left.part").mkdir()
        (workdir.path / "config.json").write_text("changed")
        raise RuntimeError
    assert {path.name for path in workdir.path.glob("*.json")} == {"pipe.json", "mine.json", *NAMES[:4]}
    assert json.loads((workdir.path / "config.json").read_text()) == SETTINGS
    assert not (workdir.path / "left.part").exists()


def test_a_run_without_its_config_is_said(workdir, caplog):
    (workdir.path / "config.json").unlink()
    workdir.check(SETTINGS, may_change=())
    assert caplog.messages == [
        f"{workdir.path / 'config.json'} is missing, so only data and network are compared with those of the run"
    ]


@pytest.mark.parametrize(
    ("value", "shape", "fits"),
    [
        (3, int, True),
        (True, int, False),
        (3, (float, None), False),
        (None, (float, None), True),
        ([1, 2], [int], True),
        ([1, "2"], [int], False),
        ({"a": 1, "b": []}, {"a": int}, True),
        ({"b": 1}, {"a": int}, False),
        ({"b": 1}, {"a": (int, None)}, True),
        ([], {"a": (int, None)}, False),
        (4, lambda value: value > 3, True),
    ],
)
def test_shapes(value, shape, fits):
    assert has_shape(value, shape) is fits
