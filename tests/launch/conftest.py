import contextlib
import fcntl
import os
import signal

import pytest

from tests.launch.fakes import Cloud, make_repository


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("origin") / "repository"
    make_repository(path)
    return path


@pytest.fixture
def cloud(tmp_path, repository):
    yield Cloud(tmp_path, repository)
    for lock in tmp_path.rglob("run.lock"):  # kill the processes that a failed test leaves running
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(int((lock.parent / "pid").read_text()), signal.SIGKILL)
