import pytest

from resnet_jax.programs.train import run as training
from resnet_jax.reporting import run_record
from tests.programs.train_runs import compile_once


@pytest.fixture
def quick_runs(monkeypatch):
    """Runs of one computation share its compiled steps, and report.png is not drawn: tests/reporting draws it."""
    monkeypatch.setattr(training, "compile_train_steps", compile_once)
    monkeypatch.setattr(run_record, "_write_report", lambda workdir: None)
