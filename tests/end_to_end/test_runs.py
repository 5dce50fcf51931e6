"""Complete runs, from the command line to the files that they write."""

import json
import resource

import pytest

from tests.end_to_end import processes

CONFIG = "configs/digits.py"


def test_the_files_of_a_work_directory(finished):
    workdir, done = finished
    assert done.stderr == ""
    names = {path.name for path in workdir.iterdir()}
    assert names - {"code"} == {  # 'code' has the changes of the checkout that are not committed, if there are any
        ".lock",
        "classes.json",
        "config.json",
        "report.html",
        "report.png",
        "run.json",
        "metrics.jsonl",
        "train.log",
        "checkpoints",
        "result.json",
        "steps.f32",
    }
    result = processes.read_result(workdir)
    assert (result["step"], result["total_steps"], result["stop_reason"]) == (60, 60, "completed")
    assert result["eval"]["count"] == 360
    assert 0 <= result["eval"]["top1"] <= result["eval"]["top5"] <= 1
    assert result["best"]["step"] in (30, 60)
    parts = {part: seconds for part, seconds in result["seconds"].items() if part != "total"}
    assert sum(parts.values()) == pytest.approx(result["seconds"]["total"], abs=0.01)
    assert min(parts[part] for part in ("import", "start", "compile", "step")) > 0
    assert (workdir / "report.png").read_bytes().startswith(b"\x89PNG")
    (started,) = json.loads((workdir / "run.json").read_text())["starts"]
    assert started["start_step"] == 0 and started["versions"]["jax"] and started["devices"]
    assert json.loads((workdir / "config.json").read_text())["model"]["features"] == 4
    assert "stage1_block1/conv1/kernel" in (workdir / "train.log").read_text()


def test_metrics(finished):
    lines = processes.read_metrics(finished[0])
    train = [line for line in lines if line["split"] == "train"]
    assert [line["step"] for line in train] == [10, 20, 30, 40, 50, 60]
    assert set(train[0]) >= {"loss", "top1", "top5", "grad_norm", "lr", "images_per_second", "epoch"}
    assert [line["step"] for line in lines if line["split"] == "eval"] == [30, 60]
    assert train[-1]["loss"] < train[0]["loss"]


def test_what_is_printed(finished):
    output = finished[1].stdout
    for part in (
        "digits:1.0.0/train 1,437 images, digits:1.0.0/test 360",
        "n=360",
        "step      10/60",
        "Finished     step 60 of 60",
        "accuracy     top-1",
    ):
        assert part in output
    assert "TensorBoard" not in output  # no event files were written


@pytest.mark.slow  # tests/programs/test_train.py does it within one process
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, data_dir):
    changes = processes.SMALL | {"schedule.base_lr": 1e9, "schedule.warmup_epochs": 1.0, "checkpoint.every_steps": 1}
    done = processes.run(CONFIG, tmp_path, data_dir, changes)
    assert done.returncode == 3, done.stdout + done.stderr
    result = processes.read_result(tmp_path)
    assert result["stop_reason"] == "non_finite"
    (line,) = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if "error: step " in line]
    assert f"the last good checkpoint is {tmp_path / 'checkpoints' / str(result['step'])}" in line
    assert (tmp_path / "checkpoints" / str(result["step"])).is_dir()


@pytest.mark.slow
def test_a_full_disk_is_one_line(tmp_path, data_dir, monkeypatch):
    # A limit on the file size simulates a full disk: the same write fails.
    processes.run(CONFIG, tmp_path / "first", data_dir, processes.SMALL | {"train.total_steps": 1})  # prepares the data
    program = processes.command(CONFIG, tmp_path / "run", processes.SMALL)
    done = processes.subprocess.run(
        program,
        cwd=processes.ROOT,
        env=processes.environment(data_dir),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: a checkpoint could not be written to ") and "File too large" in line


@pytest.mark.slow
def test_the_demo_reaches_its_accuracy(tmp_path, data_dir, monkeypatch):
    # Compiled as a user's run is: without XLA's optimization the steps take most of the time.
    monkeypatch.setenv("XLA_FLAGS", "")
    done = processes.run(CONFIG, tmp_path, data_dir, timeout=900)
    assert done.returncode == 0, done.stderr
    result = processes.read_result(tmp_path)
    assert result["eval"]["count"] == 360
    assert result["eval"]["top1"] >= 0.985
    assert list(tmp_path.glob("events.out.tfevents.*"))
    assert f"--logdir {tmp_path}" in done.stdout


@pytest.mark.slow
def test_the_main_recipe_runs_at_full_size_on_synthetic_images(tmp_path, data_dir):
    changes = {
        "data.source": "synthetic",
        "data.synthetic.num_eval": 10,
        "data.batch_size": 4,
        "train.total_steps": 2,
        "log.inputs": False,
        "log.trackers": (),
    }
    done = processes.run("configs/resnet50.py", tmp_path, data_dir, changes, timeout=900)
    assert done.returncode == 0, done.stderr
    result = processes.read_result(tmp_path)
    assert (result["step"], result["eval"]["count"]) == (2, 10)
    assert (tmp_path / "checkpoints" / "2").is_dir()
    assert "25,557,032 parameters, bfloat16" in done.stdout
    assert "over the whole batch of 4, which is no larger than a group of 128" in done.stdout
