"""Checks of the work directory: space, writing, locks; nothing is left behind."""

import fcntl
import os

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.programs.doctor import storage
from resnet_jax.programs.doctor.finding import ERROR, OK, WARNING


def files(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_directory_that_does_not_exist_yet_is_checked_in_its_parent(tmp_path):
    (found,) = storage.work_directory(str(tmp_path / "runs" / "first"))
    assert found.level == OK and "has no run yet; it can be written and locked" in found.text
    assert files(tmp_path) == []


def test_a_directory_that_the_user_has_not_named_is_not_named(tmp_path):
    (found,) = storage.work_directory(str(tmp_path / "runs" / "doctor"), is_given=False)
    assert found.level == OK and found.text.startswith(f"files in {tmp_path} can be written and locked; --workdir=DIR ")


@pytest.mark.parametrize(
    ("free", "names", "level"), [(10e9, 10**6, OK), (2e9, 10**6, WARNING), (1e8, 10**6, ERROR), (10e9, 50, WARNING)]
)
def test_free_space(tmp_path, monkeypatch, free, names, level):
    size = os.statvfs_result((4096, 4096, 0, 0, int(free / 4096), 10**7, 0, names, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: size)
    (found,) = storage.disk(str(tmp_path / "new"))
    assert found.level == level and f"{free / 1e9:.1f} GB are free in {tmp_path}" in found.text


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(storage.tempfile, "TemporaryDirectory", refuse)
    (found,) = storage.work_directory(str(tmp_path))
    assert found.level == ERROR and "(Permission denied): make it writable, or choose another" in found.text


def test_a_directory_that_another_process_uses_is_a_warning(tmp_path):
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (found,) = storage.work_directory(str(tmp_path))
    assert found.level == WARNING and "another process is at work in" in found.text
    assert storage.work_directory(str(tmp_path))[0].level == OK
    assert files(tmp_path) == [".lock"]


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.fcntl, "flock", lambda *_: None)
    (found,) = storage.work_directory(str(tmp_path))
    assert found.level == WARNING and "has no locks" in found.text


def test_a_file_in_the_place_of_a_directory_is_an_error(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(UsageError, match="is a file, and a directory is needed there"):
        storage.work_directory(str(tmp_path))


def test_a_file_server_with_another_clock_is_a_warning(tmp_path, monkeypatch):
    now = storage.time.time()
    monkeypatch.setattr(storage.time, "time", lambda: now + 100)
    (found,) = storage.work_directory(str(tmp_path))
    assert found.level == WARNING and "differs by -100 s" in found.text
