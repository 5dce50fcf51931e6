"""A run in Weights & Biases, offline; needs `pip install wandb`, which make test-slow installs."""

import importlib.util
import json
import subprocess
import sys

import pytest

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")

# In a process of its own, as W&B starts threads, changes the environment and registers functions that run at exit.
TRACK = """
import sys
from pathlib import Path
import numpy as np
from resnet_jax.reporting.progress import show_log
from resnet_jax.reporting.trackers import TrackedRun, check_usable, open_tracker
show_log()
check_usable(("wandb",))
directory = Path(sys.argv[1])
for start_step in (0, 3):  # the second start continues the run
    run = TrackedRun(directory, "0123abcd", start_step, {"model.depth": 50, "data.data_dir": None}, ())
    tracker = open_tracker("wandb", run)
    if start_step == 0:
        tracker.image(0, "inputs", np.zeros((4, 5, 3), np.uint8))
        tracker.scalars(3, {"train/loss": 0.5})
        tracker.scalars(3, {"eval/top1": 0.125})
    else:
        tracker.scalars(4, {"train/loss": 0.25})
    tracker.close(failed=start_step > 0)
"""
# The records of a file: a header of 7 bytes, then LevelDB's log format, blocks of 32 KiB with records of 7 bytes and
# their content. Wherever fewer than 7 bytes are left in a block, the next record begins in the next block.
READ = """
import json, struct, sys
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record
def records(data):
    at, content = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        content += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(content)
            content = b""
for path in sorted(Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb")):
    found = {"history": []}
    for record in records(path.read_bytes()):
        if record.HasField("run"):
            config = {update.key: json.loads(update.value_json) for update in record.run.config.update}
            config.pop("_wandb", None)
            found |= {"id": record.run.run_id, "name": record.run.display_name, "project": record.run.project}
            found |= {"config": config}
        if record.HasField("history"):
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            kept = {key: value for key, value in items.items() if "/" in key and not key.startswith("inputs")}
            found["history"].append([record.history.step.num, kept, "inputs/width" in items and items["inputs/width"]])
        if record.HasField("exit"):
            found["exit"] = record.exit.exit_code
    print(json.dumps(found))
"""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # no login of the user
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_NAME", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def run(program, directory):
    command = [sys.executable, "-c", program, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
@needs_wandb
def test_an_offline_run_and_its_second_start_have_the_same_id(directory, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = run(TRACK, directory)
    assert done.returncode == 0 and done.stdout.count("wandb        offline; to send it: wandb sync ") == 2, done.stderr
    starts = [json.loads(line) for line in run(READ, directory).stdout.splitlines()]
    assert [start["history"] for start in starts] == [
        [[0, {}, 5], [3, {"train/loss": 0.5, "eval/top1": 0.125}, False]],
        [[4, {"train/loss": 0.25}, False]],
    ]
    assert [start["exit"] for start in starts] == [0, 1]
    for start in starts:
        assert (start["id"], start["name"], start["project"]) == ("0123abcd", "mine", "resnet_jax")
        assert start["config"] == {"model.depth": 50, "data.data_dir": None}


@pytest.mark.slow
@needs_wandb
def test_a_missing_login_is_one_line_before_the_run(directory, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    done = run(TRACK, directory)
    last = done.stderr.splitlines()[-1]
    assert last.endswith(
        "UsageError: config.log.trackers has 'wandb', and no API key of Weights & Biases is known: run `wandb login`, "
        "or set WANDB_MODE=offline"
    )
    assert not (directory / "wandb").exists()
