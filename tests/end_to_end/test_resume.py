"""A run that is killed at any moment and started again ends bit-identical to an undisturbed run."""

import os
import shutil
import signal
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.end_to_end import processes

CONFIG = "configs/digits.py"


def final_arrays(workdir):
    path, handler = workdir / "checkpoints" / "60" / "state", ocp.PyTreeCheckpointHandler()
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(path).tree)
    return ocp.Checkpointer(handler).restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


@pytest.fixture(scope="module")
def undisturbed(finished):
    return finished[0]


def assert_ends_like(workdir, undisturbed):
    got, expected = final_arrays(workdir), final_arrays(undisturbed)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert np.asarray(leaf).tobytes() == np.asarray(other).tobytes()
    for part in ("eval", "best"):
        assert processes.read_result(workdir)[part] == processes.read_result(undisturbed)[part]
    steps = [(line["step"], line["split"]) for line in processes.read_metrics(workdir)]
    assert steps == sorted(set(steps), key=lambda line: (line[0], line[1] == "eval"))  # no line twice


@pytest.mark.slow  # tests/programs/test_train.py does it within one process
def test_a_run_continues_with_other_intervals_of_evaluation_checkpoints_and_logs(tmp_path, data_dir, undisturbed):
    first = processes.SMALL | {"train.max_steps": 25}
    assert processes.run(CONFIG, tmp_path, data_dir, first).returncode == 0
    changes = {"eval.every_steps": 21, "eval.every_epochs": 3.0, "checkpoint.every_steps": 7, "log.every_steps": 4}
    done = processes.run(CONFIG, tmp_path, data_dir, processes.SMALL | changes)
    assert done.returncode == 0, done.stderr
    evaluated = [line["step"] for line in processes.read_metrics(tmp_path) if line["split"] == "eval"]
    assert evaluated == [25, 42, 60]
    got, expected = final_arrays(tmp_path), final_arrays(undisturbed)
    for leaf, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert np.asarray(leaf).tobytes() == np.asarray(other).tobytes()


def freeze_when(condition, workdir, process):
    """Pauses the process (SIGSTOP) at a moment at which the condition holds, and holds while it is paused.

    It looks again and again, sleeping between the looks: the moment lies in another process.
    """
    while True:
        while not condition(workdir):
            assert process.poll() is None, "the run ended before it could be stopped"
            time.sleep(0.0005)
        os.kill(process.pid, signal.SIGSTOP)
        if condition(workdir):
            return
        os.kill(process.pid, signal.SIGCONT)


def end_when(condition, workdir, data_dir, number, changes=None):
    """Starts a run and signals its process group as soon as the condition holds; returns exit status and output."""
    with processes.start(CONFIG, workdir, data_dir, processes.SMALL | (changes or {})) as process:
        freeze_when(condition, workdir, process)
        os.killpg(process.pid, number)
        os.killpg(process.pid, signal.SIGCONT)
        output, _ = process.communicate(timeout=120)
    return process.returncode, output


def starting(workdir):
    """The initial state is being made: the checkpoint directory exists, without a checkpoint."""
    return (workdir / "checkpoints").is_dir() and not any((workdir / "checkpoints").iterdir())


def between_checkpoints(workdir):
    """The checkpoint of step 20 is complete and no other is being written."""
    return (workdir / "checkpoints" / "20").is_dir() and not saving(workdir)


def saving(workdir):
    """A checkpoint after the first is partly written."""
    complete = [path for path in (workdir / "checkpoints").glob("*0") if path.name != "0"]
    return bool(complete) and any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_and_then_killed_while_saving_continues(number, tmp_path, data_dir, undisturbed):
    status, output = end_when(between_checkpoints, tmp_path, data_dir, number)
    assert status == 75, output
    stopped = processes.read_result(tmp_path)
    assert stopped["stop_reason"] == "signal"
    assert (tmp_path / "checkpoints" / str(stopped["step"])).is_dir()
    assert f"Stopped after step {stopped['step']}, which is saved" in output
    status, output = end_when(saving, tmp_path, data_dir, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert f"from step {stopped['step']} of 60" in output
    assert not (tmp_path / "result.json").exists()
    assert list((tmp_path / "checkpoints").glob("*.orbax-checkpoint-tmp"))
    done = processes.run(CONFIG, tmp_path, data_dir, processes.SMALL)
    assert done.returncode == 0, done.stderr
    assert "continuing" in done.stdout
    assert_ends_like(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [starting, between_checkpoints])
def test_a_killed_run_continues_bit_for_bit(moment, tmp_path, data_dir, undisturbed):
    status, _ = end_when(moment, tmp_path, data_dir, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert not (tmp_path / "result.json").exists()
    done = processes.run(CONFIG, tmp_path, data_dir, processes.SMALL)
    assert done.returncode == 0, done.stderr
    assert ("continuing" in done.stdout) == (moment is not starting)
    assert_ends_like(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_does_not_lose_the_run_to_its_workers(number, tmp_path, data_dir, undisturbed):
    # Ctrl-C and Slurm signal the whole group.
    status, output = end_when(between_checkpoints, tmp_path, data_dir, number, {"data.num_workers": 1})
    assert status == 75, output
    assert "Traceback" not in output
    done = processes.run(CONFIG, tmp_path, data_dir, processes.SMALL)  # the number of workers may change
    assert done.returncode == 0, done.stderr
    assert_ends_like(tmp_path, undisturbed)


def test_a_finished_run_has_nothing_to_do(data_dir, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    done = processes.run(CONFIG, undisturbed, data_dir, processes.SMALL)
    assert done.returncode == 0
    assert "Nothing to do: this run is finished, step 60 of 60." in done.stdout
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")} == before


@pytest.mark.slow
def test_a_run_killed_after_its_last_save_only_writes_its_result(tmp_path, data_dir, undisturbed):
    workdir = shutil.copytree(undisturbed, tmp_path / "run")
    (workdir / "result.json").unlink()
    done = processes.run(CONFIG, workdir, data_dir, processes.SMALL)
    assert done.returncode == 0, done.stderr
    assert_ends_like(workdir, undisturbed)


def evaluating(workdir):
    """Step 30, at which an evaluation is due, is done and not yet saved."""
    log = workdir / "train.log"
    reached = log.exists() and "step      30/60" in log.read_text()
    return reached and not (workdir / "checkpoints" / "30").exists() and not saving(workdir)


@pytest.mark.slow
def test_a_run_stopped_in_an_evaluation_still_finds_the_best_checkpoint(tmp_path, data_dir, undisturbed):
    # One image per batch, so that the evaluation lasts long enough to be signalled.
    status, output = end_when(evaluating, tmp_path, data_dir, signal.SIGTERM, {"eval.batch_size": 1})
    assert status == 75, output
    assert processes.read_result(tmp_path)["step"] == 30
    assert not [line for line in processes.read_metrics(tmp_path) if line["split"] == "eval"]
    done = processes.run(CONFIG, tmp_path, data_dir, processes.SMALL)
    assert done.returncode == 0, done.stderr
    assert_ends_like(tmp_path, undisturbed)
