"""--mode=benchmark from the command line."""

import json
import subprocess

import pytest

from tests.end_to_end.processes import ROOT, SMALL, command, environment

WINDOWS = {"benchmark.windows": 2, "benchmark.window_steps": 3, "benchmark.warmup_steps": 1}


def run(workdir, data_dir, changes):
    arguments = [*command("configs/digits.py", workdir, SMALL | WINDOWS | changes), "--mode=benchmark"]
    return subprocess.run(
        arguments, cwd=ROOT, env=environment(data_dir, 2), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_everything_is_measured_and_recorded(tmp_path, data_dir):
    done = run(tmp_path / "run", data_dir, {})
    assert (done.returncode, done.stderr) == (0, "")
    (path,) = (tmp_path / "run" / "benchmarks").iterdir()
    record = json.loads(path.read_text())
    assert record.keys() >= {"command", "versions", "devices", "git_commit", "windows", "cores", "config", "measured"}
    measured = record["measured"]
    cold, warm = measured["first_step"]["cold"], measured["first_step"]["warm"]
    for found in (cold, warm):
        assert {"import", "start", "compile", "step"} <= set(found["parts"])
        assert found["seconds"] <= sum(found["parts"].values()) + 0.001  # the log is rounded to milliseconds
    assert warm["parts"]["compile"] < cold["parts"]["compile"]
    step = measured["step"]
    assert len(step["images_per_second"]["windows"]) == 2 and step["programs_compiled_later"] == 0
    assert step["batch_size"] == 48 and step["flops_per_image"] > 1e5 and step["mfu"] is step["hfu"] is None
    rate, each = (step[name]["median"] for name in ("images_per_second", "images_per_second_per_device"))
    assert rate == pytest.approx(2 * each)
    assert measured["loader"]["images_per_second"]["median"] > 0
    assert {"step"} <= set(measured["together"]["seconds"])
    for part in ("first cold", "first warm", "step", "program", "loader", "together", "share", "written"):
        assert any(line.startswith(f"{part:<13}") for line in done.stdout.splitlines()), part


def test_an_unknown_measurement_is_one_line_before_anything_is_measured(tmp_path, data_dir):
    done = run(tmp_path / "run", data_dir, {"benchmark.parts": "('step', 'disk')"})
    assert done.returncode == 2
    assert done.stderr == (
        "error: config.benchmark.parts=('step', 'disk'): 'disk' is not a measurement; "
        "name some of first_step, step, loader, together\n"
    )


@pytest.mark.slow
def test_a_run_that_cannot_start_says_why(tmp_path, data_dir):
    done = run(tmp_path / "run", data_dir, {"data.eval_split": "nothing", "benchmark.parts": "('first_step',)"})
    assert done.returncode == 2
    assert done.stderr.startswith("error: the run to be timed ended with status 2 before its first step: error: ")
