"""A run in MLflow's file store; needs `pip install mlflow-skinny`, which make test-slow installs."""

import importlib.util
import json
import subprocess
import sys

import pytest

needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow")

# In a process of its own, as MLflow takes seconds to import and prints warnings.
TRACK = """
import json, sys
from pathlib import Path
import numpy as np
from resnet_jax.reporting.trackers import TrackedRun, check_usable, open_tracker
check_usable(("mlflow",))
settings = {f"key.{number}": number for number in range(150)} | {"long": 9000 * "x", "data.data_dir": None}
for start_step in (0, 3):  # the second start continues the run
    tracker = open_tracker("mlflow", TrackedRun(Path(sys.argv[1]), "0123abcd", start_step, settings, ()))
    if start_step == 0:
        tracker.image(0, "inputs", np.zeros((4, 5, 3), np.uint8))
        tracker.scalars(3, {"train/loss": 0.5, "eval/top1": 0.125})
    else:
        tracker.scalars(4, {"train/loss": 0.25})
    tracker.close(failed=start_step > 0)
other = open_tracker("mlflow", TrackedRun(Path(sys.argv[1]), "ffffffff", 0, {}, ()))
other.close(failed=False)

from mlflow import MlflowClient
client = MlflowClient()
experiment = client.get_experiment_by_name("resnet_jax").experiment_id
other, run = sorted(client.search_runs([experiment]), key=lambda run: len(run.data.params))
number = run.info.run_id
history = {key: [[m.step, m.value] for m in client.get_metric_history(number, key)] for key in run.data.metrics}
print(json.dumps({
    "name": run.info.run_name,
    "status": [run.info.status, other.info.status],
    "history": history,
    "params": [len(run.data.params), run.data.params["key.149"], len(run.data.params["long"])],
    "files": [file.path for file in client.list_artifacts(run.info.run_id)],
}))
"""


@pytest.mark.slow
@needs_mlflow
def test_a_second_start_continues_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    command = [sys.executable, "-c", TRACK, str(tmp_path / "mine")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "name": "mine",
        "status": ["FAILED", "FINISHED"],
        "history": {"train/loss": [[3, 0.5], [4, 0.25]], "eval/top1": [[3, 0.125]]},
        "params": [152, "149", 6000],
        "files": ["inputs-0.png"],
    }
