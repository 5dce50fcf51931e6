"""A limit on processes or threads, as `ulimit -u` sets it, is one line before JAX starts."""

import ctypes
import os
import resource
import subprocess
import sys
import threading

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.programs import thread_limit
from tests import paths


@pytest.fixture
def at_most(monkeypatch):
    """Limits the threads that can be started from now on, and lets this process have four cores."""

    def limit(count):
        left, start = [count], threading.Thread.start

        def count_down(thread):
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", count_down)
        monkeypatch.setattr(thread_limit.os, "sched_getaffinity", lambda process: set(range(4)), raising=False)

    return limit


@pytest.mark.parametrize("count", [0, 1, 47])
def test_too_few_threads_are_one_line(count, at_most):
    before = threading.active_count()
    at_most(count)
    with pytest.raises(
        UsageError, match=rf"^a run needs 48 threads on 4 CPU cores, and only {count} can be started: end"
    ):
        thread_limit.check_threads()
    assert threading.active_count() == before


def test_enough_threads_are_started_and_ended(at_most):
    before = threading.active_count()
    at_most(48)
    thread_limit.check_threads()
    assert threading.active_count() == before


@pytest.mark.parametrize(("cores", "counted"), [(2, 35), (8, 71), (64, 339)])
def test_the_threads_of_a_run_are_those_that_were_counted(cores, counted):
    assert counted <= thread_limit.threads_of_a_run(cores) <= counted + 5


def become_limited():
    """Limits the processes and threads of this user to eight; root, to whom limits do not apply, gets another user."""
    if os.geteuid() == 0:
        drop, capabilities = 24, (21, 24)  # PR_CAPBSET_DROP; CAP_SYS_ADMIN and CAP_SYS_RESOURCE lift the limit
        for capability in capabilities:
            ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)
        os.setresuid(12345, 0, 0)  # processes count for the real user; files are opened by the effective one
    resource.setrlimit(resource.RLIMIT_NPROC, (8, 8))


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of other systems count processes, not threads")
def test_a_command_of_a_user_with_too_few_processes_is_one_line(tmp_path):
    command = [sys.executable, "main.py", "--config=digits", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(
        command, cwd=paths.ROOT, preexec_fn=become_limited, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: a run needs ")
    assert not (tmp_path / "run").exists()
