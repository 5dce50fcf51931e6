"""A run with a damaged newest checkpoint continues from the one before, to a bit-identical end."""

import shutil
import subprocess

import pytest

from tests.checkpoints.test_damaged import flip_bits, largest_file
from tests.end_to_end import processes
from tests.end_to_end.test_resume import CONFIG, assert_ends_like


@pytest.fixture(scope="module")
def undisturbed(finished):
    return finished[0]


@pytest.fixture
def nearly_finished(undisturbed, tmp_path):
    """A copy of a run that was killed before it wrote its result."""
    workdir = shutil.copytree(undisturbed, tmp_path / "run")
    (workdir / "result.json").unlink()
    return workdir


def lose_the_data(path):
    largest_file(path).unlink()


def break_the_json(path):
    (path / "meta" / "metadata").write_text("{")


@pytest.mark.slow  # tests/checkpoints/test_damaged.py has more kinds of damage
@pytest.mark.parametrize("damage", [flip_bits, lose_the_data, break_the_json])
def test_the_run_continues_from_the_checkpoint_before_a_damaged_one(damage, nearly_finished, undisturbed, data_dir):
    directory = nearly_finished / "checkpoints"
    damage(directory / "60")
    done = processes.run(CONFIG, nearly_finished, data_dir, processes.SMALL)
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    [line] = [line for line in output.splitlines() if "is damaged" in line]
    assert f"checkpoint {directory / '60'} is damaged (" in line
    aside = nearly_finished / "damaged_checkpoints" / "60"
    assert line.endswith(f"it was moved to {aside}, and checkpoint 50 is used instead")
    assert "from step 50 of 60" in done.stdout
    assert aside.is_dir()
    assert_ends_like(nearly_finished, undisturbed)


@pytest.mark.slow
def test_without_a_good_checkpoint_the_run_ends_and_deletes_nothing(nearly_finished, data_dir):
    directory = nearly_finished / "checkpoints"
    steps = sorted(path.name for path in directory.iterdir())
    for step in steps:
        flip_bits(directory / step)
    done = processes.run(CONFIG, nearly_finished, data_dir, processes.SMALL)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: all checkpoints in {directory} are damaged (60: ")
    assert line.endswith("restore one from a copy, or move that directory away to start a new run")
    assert sorted(path.name for path in directory.iterdir()) == steps


@pytest.mark.slow
def test_a_damaged_checkpoint_is_not_evaluated(nearly_finished, data_dir):
    break_the_json(nearly_finished / "checkpoints" / "60")
    done = subprocess.run(
        [*processes.command(CONFIG, nearly_finished, processes.SMALL), "--mode=eval"],
        cwd=processes.ROOT,
        env=processes.environment(data_dir),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"checkpoint {nearly_finished / 'checkpoints' / '60'} is damaged (" in line
    assert line.endswith("name another checkpoint")
