"""A real sweep is stopped by a signal, continues, and ends with the accuracies of its runs."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.paths import ROOT

FLAGS = [
    *("--mode=sweep", "--config=digits", "--config.train.total_steps=24", "--config.eval.every_steps=12"),
    *("--config.checkpoint.every_steps=4", "--config.log.every_steps=1", "--config.log.inputs=False"),
    *("--config.log.trackers=()", "--config.sweep.seeds=(0,1)"),
    *("--config.model.features=4", "--config.data.image_size=12"),
]


@pytest.mark.slow
def test_a_sweep_that_is_stopped_continues(tmp_path):
    command = [sys.executable, str(ROOT / "main.py"), *FLAGS, f"--workdir={tmp_path / 'sweep'}"]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "sweep" / "base" / "seed-0" / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    output = first.communicate(timeout=240)[0]
    assert first.returncode == 75 and "run the same command again to continue" in output
    stopped = json.loads((metrics.parent / "result.json").read_text())
    assert stopped["stop_reason"] == "signal" and stopped["step"] < 24
    second = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=400
    )
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"from step {stopped['step']} of 24" in (metrics.parent / "train.log").read_text()
    assert second.stdout.count("\nrun  ") == 2 and "step 24" in second.stdout and "first step" not in second.stdout
    (row,) = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["rows"]
    results = [json.loads(path.read_text()) for path in sorted((tmp_path / "sweep").glob("base/*/result.json"))]
    assert row["top1"] == {str(seed): result["eval"]["top1"] for seed, result in enumerate(results)}
    assert "base" in second.stdout.split("deviation", 1)[1]
