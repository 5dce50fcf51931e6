import json
import subprocess
import sys

import jax
import pytest

from benchmarks import side_by_side
from benchmarks.trainers import Task
from benchmarks.trainers.flax_style import flax_style
from tests.paths import ROOT

RESULT = {
    "task": {"batch_size": 10},
    "steps": 2,
    "what": {"ours": "ours 1", "torch": "torch 2"},
    "seconds": {"ours": [1.0, 2.0, 1.0], "torch": [2.0, 3.0, 4.0]},
    "left_out": {"flax": "out of memory"},
}


def test_ratios_are_medians_over_the_rounds():
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in side_by_side.table(RESULT).splitlines()]
    assert lines[2] == ["ours", "20.0", "10.0 - 20.0", "1.00 x", "ours 1"]
    assert lines[3] == ["torch", "6.7", "5.0 - 10.0", "2.00 x", "torch 2"]  # takes 2, 1.5 and 4 times as long as ours
    assert lines[4][:3] == ["flax", "left out", "out of memory"]


def test_best_is_the_rate_at_the_best_batch_size():
    larger = RESULT | {"task": {"batch_size": 20}, "seconds": {"ours": [4.0], "torch": [4.0]}}
    assert side_by_side.best_of([RESULT, larger]) == {"ours": (20.0, 10), "torch": (10.0, 20)}


def test_the_flax_style_network_is_resnet_50():
    program = flax_style(depth=50, num_classes=1000, image_size=224, dtype="bfloat16")
    params = jax.eval_shape(program.init).params
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 25_557_032  # torchvision's and timm's count


def run(tmp_path, *options):
    path = tmp_path / "record.json"
    sizes = ["--depth", "18", "--image-size", "32", "--batch-sizes", "4", "--dtype", "float32"]
    small = [*sizes, "--windows", "2", "--steps", "2", "--warmup", "1", "--classes", "10", "--json", str(path)]
    command = [sys.executable, "benchmarks/side_by_side.py", *small, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stdout


@pytest.mark.slow
def test_trainers_run_in_turn_in_their_own_processes(tmp_path):
    record, printed = run(tmp_path, "--trainers", "ours", "flax", "torch", "--no-compile")
    (result,) = record["results"]
    assert result["left_out"] == {}
    assert {name: len(windows) for name, windows in result["seconds"].items()} == {"ours": 2, "flax": 2, "torch": 2}
    assert result["task"] == Task(18, 4, 32, 10, "float32", compiled=False).__dict__
    assert set(record["best"]) == {"ours", "flax", "torch"} and "best ours" in printed


@pytest.mark.slow
def test_a_trainer_that_fails_is_left_out_and_the_others_continue(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('there is none')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    record, printed = run(tmp_path, "--trainers", "torch", "flax")
    (result,) = record["results"]
    assert result["left_out"] == {"torch": "not installed (there is none)"} and set(result["seconds"]) == {"flax"}
    assert "left out" in printed
