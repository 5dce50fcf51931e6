import gzip
import json

import pytest

from benchmarks import top_operations
from benchmarks.top_operations import Event, device_timelines, idle_share, own_times, table
from resnet_jax.errors import UsageError


def names(process, *threads):
    yield {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": process}}
    for number, thread in enumerate(threads):
        yield {"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": thread}}


def done(thread, start, duration, name):
    return {"ph": "X", "pid": 1, "tid": thread, "ts": start, "dur": duration, "name": name}


@pytest.mark.parametrize(
    ("process", "threads"),
    [
        ("/device:GPU:0", ("Stream #13(Compute)", "Steps")),
        ("/device:TPU:0", ("XLA Ops", "XLA Modules")),
        ("/host:CPU", ("tf_XLAEigen/123", "main.py")),
    ],
)
def test_operations_of_a_device_are_recognized_by_process_and_thread(process, threads):
    events = [*names(process, *threads), done(0, 0, 2, "convolution"), done(1, 0, 9, "train_step")]
    assert device_timelines(events) == [[Event(0, 2, "convolution")]]


def test_the_time_of_an_operation_excludes_nested_ones():
    events = [*names("/device:TPU:0", "XLA Ops"), done(0, 0, 4, "body"), done(0, 0, 10, "loop"), done(0, 1, 1, "add")]
    (timeline,) = device_timelines([*events, done(0, 6, 3, "body"), done(0, 20, 5, "end")])
    times = {}
    for name, own in own_times(timeline):
        times[name] = times.get(name, 0) + own
    assert times == {"loop": 3, "body": 6, "add": 1, "end": 5}


def test_the_table_is_per_step():
    timelines = [[Event(0, 3000, "conv"), Event(3000, 1000, "add"), Event(4000, 4000, "conv")]]
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table(timelines, steps=2, count=1).splitlines()
    ]
    assert lines[2:] == [["conv", "3.500", "87.5%", "1.0"]]


def test_the_device_is_idle_when_no_stream_has_an_event():
    assert idle_share([[Event(0, 3, "conv"), Event(5, 5, "conv")], [Event(2, 2, "copy")]]) == 1 / 10


def write_trace(workdir, name, events):
    path = workdir / "plugins" / "profile" / name / "host.trace.json.gz"
    path.parent.mkdir(parents=True)
    with gzip.open(path, "wt") as file:
        json.dump({"traceEvents": list(events)}, file)
    (workdir / "config.json").write_text(json.dumps({"train": {"profile_steps": 5}}))


def test_the_newest_trace_is_printed(tmp_path, capsys):
    write_trace(tmp_path, "2026_01_01", [*names("/device:GPU:0", "Stream #1"), done(0, 0, 5000, "old")])
    write_trace(tmp_path, "2026_01_02", [*names("/device:GPU:0", "Stream #1"), done(0, 0, 5000, "new")])
    top_operations.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "new" in printed and "old" not in printed and "idle 0.0%" in printed


def test_a_missing_trace_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        top_operations.main([str(tmp_path)])
    assert "error: there is no trace below" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no operation of a device"):
        device_timelines([*names("/host:CPU", "main.py"), done(0, 0, 1, "python")])
