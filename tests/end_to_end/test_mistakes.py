"""Every mistake is one line that names the cure, exit status 2 and no traceback."""

import pytest

from tests.end_to_end import processes


def mistake(config, workdir, data_dir, changes=None):
    done = processes.run(config, workdir, data_dir, changes)
    lines = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


def test_a_missing_data_set_is_one_line(tmp_path, data_dir):
    line = mistake("configs/resnet50.py", tmp_path / "run", data_dir)
    assert f"data set 'imagenet2012' is not prepared in {data_dir}" in line
    assert "docs/data.md" in line and "--config.data.data_dir=DIR" in line and "--config.data.source=synthetic" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ("configs/digits.py", {"data.bacth_size": 3}, "there is no 'bacth_size' among augment, batch_size, data_dir"),
        (
            "configs/digits.py",
            {"dtaa.batch_size": 3},
            "there is no 'dtaa' among average, benchmark, check_data, checkpoint",
        ),
        ("configs/digits.py", {"data.batch_size": "many"}, "--config.data.batch_size=many: invalid literal"),
        ("configs/digits.py", {"input.flip": "maybe"}, "--config.input.flip=maybe"),
        ("configs/nothing.py", {}, "config file configs/nothing.py does not exist"),
    ],
)
def test_wrong_configs(tmp_path, data_dir, config, changes, message):
    assert message in mistake(config, tmp_path, data_dir, changes)


def test_a_batch_that_the_devices_do_not_divide(tmp_path, data_dir):
    done = processes.run("configs/digits.py", tmp_path, data_dir, devices=7)
    assert done.returncode == 2
    assert "config.data.batch_size=64 cannot be divided over 7 devices: take 63 or 70" in done.stderr


@pytest.mark.parametrize("setting", ["data.no_such = 3", "data.batch_size = 'many'"])
def test_mistakes_in_a_config_file(tmp_path, data_dir, setting):
    file = tmp_path / "mine.py"
    file.write_text(
        f"from configs import default\ndef get_config():\n    c = default.get_config()\n    c.{setting}\n    return c\n"
    )
    line = mistake(file, tmp_path / "run", data_dir)
    assert f"config file {file}, line 4: " in line
    assert len(line) < 300


def test_a_work_directory_that_cannot_be_written(data_dir):
    line = mistake("configs/digits.py", "/proc/none", data_dir)
    assert "work directory /proc/none cannot be written" in line and "--workdir=DIR" in line


def test_a_work_directory_of_another_config(finished, data_dir):
    workdir, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    line = mistake("configs/digits.py", workdir, data_dir, processes.SMALL | {"schedule.base_lr": 0.7})
    assert "holds a run of another config (schedule.base_lr: 0.1 there, 0.7 here)" in line
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


def test_a_config_without_an_argument_refuses_one(tmp_path, data_dir):
    line = mistake("configs/resnet50_fast.py:17", tmp_path, data_dir)
    assert "config file configs/resnet50_fast.py: '17' is not one of 16, 18, 24, 32, 40, 56, 88 epochs" in line


MISSING = "--config is missing: name a recipe, for example --config=resnet50, or an existing run with --workdir=DIR"


def test_no_flags_at_all(data_dir):
    done = processes.subprocess.run(
        [processes.sys.executable, "main.py"], cwd=processes.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"error: {MISSING}\n"


@pytest.mark.parametrize("flag", ["--config.export.dtype=float16", "--mode=replay"])
def test_a_work_directory_without_a_run_and_no_config(tmp_path, flag):
    command = [processes.sys.executable, "main.py", f"--workdir={tmp_path}", flag]
    done = processes.subprocess.run(command, cwd=processes.ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path} holds no run: {MISSING}\n")
