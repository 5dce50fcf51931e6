"""A run in MLflow. MLFLOW_TRACKING_URI names the server, MLFLOW_EXPERIMENT_NAME the experiment."""

import importlib.util
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.reporting.trackers.tracker import TrackedRun, Tracker

_ID = "resnet_jax.run_id"  # tag with which a later start of a run finds the MLflow run of the earlier starts
_LONGEST_SETTING = 6000  # MLflow's limit for the characters of a parameter
_MOST_SETTINGS = 100  # MLflow's limit for the number of parameters in a request


def check() -> None:
    """Raises UsageError if no server is named, and the packages for MLflow's local database are not installed."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and importlib.util.find_spec("sqlalchemy") is None:
        raise UsageError(
            "config.log.trackers has 'mlflow', and no server is named: set MLFLOW_TRACKING_URI=http://HOST:PORT, or "
            "pip install mlflow to write its local database mlflow.db"
        )


def open_tracker(run: TrackedRun) -> Tracker:
    """Begins a run in MLflow; if the training run was started before, continues its run in MLflow."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else GitPython prints warnings on machines without git
    from mlflow import MlflowClient  # noqa: PLC0415
    from mlflow.entities import Param  # noqa: PLC0415

    client = MlflowClient()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "resnet_jax")
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    found = client.search_runs([number], filter_string=f"tags.`{_ID}` = '{run.run_id}'", max_results=1)
    if found:
        client.update_run(found[0].info.run_id, status="RUNNING")
        return _MlflowRun(client, found[0].info.run_id)
    opened = client.create_run(number, run_name=run.name, tags={_ID: run.run_id})
    settings = [Param(key, str(value)[:_LONGEST_SETTING]) for key, value in run.settings.items()]
    for first in range(0, len(settings), _MOST_SETTINGS):
        client.log_batch(opened.info.run_id, params=settings[first : first + _MOST_SETTINGS])
    return _MlflowRun(client, opened.info.run_id)


class _MlflowRun(Tracker):
    """A tracker that logs to a run in MLflow."""

    def __init__(self, client: Any, run_id: str):
        self._client, self._run_id = client, run_id

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric  # noqa: PLC0415

        now = int(1000 * time.time())
        self._client.log_batch(self._run_id, metrics=[Metric(tag, float(v), now, step) for tag, v in values.items()])

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """See `Tracker`."""
        self._client.log_image(self._run_id, pixels, artifact_file=f"{tag}-{step}.png")

    def close(self, *, failed: bool) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run_id, status="FAILED" if failed else "FINISHED")
