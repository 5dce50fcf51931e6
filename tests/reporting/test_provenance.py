import json
import subprocess
from pathlib import Path

import jax

import resnet_jax
from resnet_jax.reporting import provenance
from tests.paths import ROOT


def test_a_start_is_described_in_json_values():
    start = json.loads(json.dumps(provenance.describe_start(7)))
    assert start["start_step"] == 7
    assert start["versions"]["jax"] == jax.__version__
    assert len(start["devices"]) == 8
    assert start["processes"] == 1


def test_the_commit_is_that_of_this_repository():
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    commit = provenance.describe_start(0)["git_commit"]
    if head.returncode:  # a copy without its history
        assert commit is None
    else:
        assert commit.removesuffix("-dirty") == head.stdout.strip()


def test_a_wheel_inside_another_repository_has_no_commit(monkeypatch):
    monkeypatch.setattr(provenance, "_ROOT", ROOT / "docs")  # as site-packages in a .venv of somebody's repository
    assert provenance.describe_start(0)["git_commit"] is None


def test_the_version_of_the_package_needs_no_installation():
    assert provenance.versions()["resnet_jax"] == resnet_jax.__version__
