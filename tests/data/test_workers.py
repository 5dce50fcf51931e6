"""Worker processes of the input pipeline: their signals, their end, and the end of their parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from resnet_jax.data import feed
from resnet_jax.data.feed import host_batches
from resnet_jax.data.workers import NOT_FOR_WORKERS, StoppedWorkers, WorkerLostError, lost_worker
from tests.data.test_loader import arrays, train_loader
from tests.paths import ROOT

SECONDS = 60


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (RuntimeError("terminated unexpectedly with exit code -9. Search"), ["SIGKILL", "memory", "below 3"]),
        (RuntimeError("terminated unexpectedly with exit code -11. Search"), ["ended by SIGSEGV", "--mode=check_data"]),
        (RuntimeError("terminated unexpectedly with exit code -15. Search"), ["ended by SIGTERM", "another program"]),
        (RuntimeError("terminated unexpectedly with exit code -100."), ["ended by signal 100"]),
        (RuntimeError("terminated unexpectedly with exit code 1."), ["has ended with status 1: the lines above"]),
        (StopIteration(), ["has ended: the lines above"]),
    ],
)
def test_the_error_says_how_a_worker_ended(error, parts):
    lost = lost_worker(error, num_workers=3)
    assert lost.exit_status == 75 and "\n" not in str(lost)
    assert all(part in str(lost) for part in parts), lost
    assert ("num_workers" in str(lost)) == (
        "SIGKILL" in parts
    )  # the cure for memory, only where memory may be the cause


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_a_stopped_worker_is_killed_but_no_other_process_and_no_pause_of_all():
    context = multiprocessing.get_context("fork")
    worker, other, busy = (
        context.Process(target=signal.pause, name=name, daemon=True)
        for name in ("grain-process-prefetch-1", "another", "grain-process-prefetch-2")
    )
    for process in (worker, other, busy):
        process.start()
    try:
        for process in (worker, other):
            os.kill(process.pid, signal.SIGSTOP)
        with StoppedWorkers(timeout=60.0) as patient:
            assert not patient.killed
        with StoppedWorkers(timeout=0.5) as stopped:
            worker.join(SECONDS)
        assert worker.exitcode == -signal.SIGKILL and stopped.killed
        assert other.is_alive() and busy.is_alive()
        line = str(lost_worker(RuntimeError("exit code -9"), num_workers=2, stopped=stopped))
        assert "was stopped for 0.5 s (--stall_timeout)" in line and "memory" not in line
    finally:
        for process in (worker, other, busy):
            process.kill()
            process.join()


def test_the_cure_for_the_only_worker_is_to_use_none():
    error = lost_worker(RuntimeError("exit code -9"), num_workers=1)
    assert "set config.data.num_workers to 0, " in str(error)


def losing_workers(monkeypatch, *, after):
    """Makes the input pipeline lose a worker process after some batches."""

    def lose(dataset, count, **_):
        for number, batch in enumerate(dataset):
            if number == after:
                raise lost_worker(RuntimeError("exit code -9"), num_workers=2)
            yield batch

    monkeypatch.setattr(feed, "_exactly", lose)


@pytest.mark.parametrize("stopping", [False, True])
def test_after_the_loss_of_a_worker_the_batches_continue(stopping, monkeypatch):
    losing_workers(monkeypatch, after=3)
    loader, lines = train_loader(), []
    batches = host_batches(loader, start=4, stop=12, num_threads=1, stopping=lambda: stopping, worker_lost=lines.append)
    for step, batch in zip(range(4, 12), batches, strict=True):
        for array, expected in zip(arrays(batch), arrays(loader.batch(step)), strict=True):
            np.testing.assert_array_equal(array, expected)
    assert len(lines) == (0 if stopping else 1)  # the signal that stops the run may have ended the worker, too


def test_without_a_handler_the_loss_of_a_worker_is_an_error_of_one_line(monkeypatch):
    losing_workers(monkeypatch, after=3)
    with pytest.raises(WorkerLostError, match="killed by SIGKILL"):
        list(host_batches(train_loader(), start=4, stop=12, num_threads=1))


def children_of(pid):
    """Returns the ids of the processes that decode for process `pid`."""
    children = " ".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [int(child) for child in children if "spawn_main" in command(child)]


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has ended
        return ""


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_error_and_the_batches_can_continue():
    loader, lines = train_loader(), []
    batches = host_batches(loader, start=0, stop=200, num_threads=1, num_workers=1, worker_lost=lines.append)
    for step, batch in enumerate(batches):
        if step == 3:
            (worker,) = children_of(os.getpid())
            for number in NOT_FOR_WORKERS - {signal.SIGINT}:
                os.kill(worker, number)  # as sent to the whole process group: ignored
        if step == 20:
            assert not lines
            os.kill(worker, signal.SIGKILL)
        if step % 50 == 0:
            for array, expected in zip(arrays(batch), arrays(loader.batch(step)), strict=True):
                np.testing.assert_array_equal(array, expected)
    assert step == 199
    (line,) = lines
    assert "killed by SIGKILL" in line


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_a_worker_that_stands_still_is_one_error_and_the_batches_can_continue():
    loader, lines = train_loader(), []
    batches = host_batches(
        loader, start=0, stop=60, num_threads=1, num_workers=2, worker_lost=lines.append, stall_timeout=2.0
    )
    for step, batch in enumerate(batches):
        if step == 5:
            os.kill(children_of(os.getpid())[0], signal.SIGSTOP)
        for array, expected in zip(arrays(batch), arrays(loader.batch(step)), strict=True):
            np.testing.assert_array_equal(array, expected)
    (line,) = lines
    assert step == 59 and "was stopped for 2 s" in line


@pytest.mark.slow
def test_without_a_handler_a_killed_worker_is_an_error():
    batches = host_batches(train_loader(), start=0, stop=200, num_threads=1, num_workers=1)
    next(batches)
    (worker,) = children_of(os.getpid())
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="killed by SIGKILL"):
        list(batches)


PARENT = """
import sys, time
from resnet_jax.data import feed
from resnet_jax.data.feed import host_batches
from tests.data.test_loader import train_loader

if __name__ == "__main__":
    batches = host_batches(train_loader(), start=0, stop=10**6, num_threads=1, num_workers=2)
    if sys.argv[1] == "decoding":
        next(batches)
        print("ready", flush=True)
    else:
        import threading
        threading.Thread(target=next, args=(batches,)).start()
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["starting", "decoding"])
def test_workers_do_not_outlive_their_parent(when, tmp_path):
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen([sys.executable, program, when], env=environment, stdout=subprocess.PIPE) as parent:
        if when == "decoding":
            assert parent.stdout.readline() == b"ready\n"
        workers = wait_for(lambda: len(found := children_of(parent.pid)) == 2 and found)
        parent.kill()
    wait_for(lambda: not any(command(worker) for worker in workers))


def wait_for(condition):
    deadline = time.monotonic() + SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result
