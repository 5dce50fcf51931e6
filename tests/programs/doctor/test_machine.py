"""Checks of memory, cores, shared memory, limits and clock, on made-up machines."""

import os
import resource

import psutil
import pytest

from resnet_jax.programs.doctor import machine
from resnet_jax.programs.doctor.finding import ERROR, OK, WARNING


def level(findings):
    return [finding.level for finding in findings]


@pytest.fixture
def group(tmp_path):
    """The files of a control group without limits."""
    for name in ("memory.max", "pids.max"):
        (tmp_path / name).write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    return tmp_path


def test_little_memory_is_a_warning(monkeypatch, group):
    machine_memory = psutil.virtual_memory()._replace(total=32_000_000_000, available=20_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine_memory)
    assert machine.memory(group=group)[0].text == "20.0 of 32.0 GB are free"
    (group / "memory.max").write_text("8000000000\n")
    (group / "memory.current").write_text("6000000000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 3000000000\n")  # the file cache is given back
    (found,) = machine.memory(group=group)
    assert found.level == OK and found.text == "5.0 of 8.0 GB are free"
    (group / "memory.stat").write_text("anon 1\ninactive_file 0\n")
    (found,) = machine.memory(group=group)
    assert found.level == WARNING and found.text.startswith("2.0 of 8.0 GB are free: end other programs")


def test_a_quota_below_the_cores_and_a_busy_machine_are_warnings(monkeypatch, group):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0, 0))
    assert machine.cores(group=group)[0].text == "8 of 16 may be used, load average 0.5"
    (group / "cpu.max").write_text("150000 100000\n")
    (found,) = machine.cores(group=group)
    assert found.level == WARNING and "gets the time of 1.5 of them" in found.text
    assert found.text.endswith("--config.data.num_threads=2")
    (group / "cpu.max").unlink()
    monkeypatch.setattr(os, "getloadavg", lambda: (4.5, 0, 0))
    assert "other programs are running" in machine.cores(group=group)[0].text


def test_shared_memory_that_is_too_small_is_an_error(tmp_path, monkeypatch):
    size = os.statvfs_result((4096, 4096, 0, 0, 16384, 0, 0, 0, 0, 255))  # 64 MB, as Docker gives
    monkeypatch.setattr(os, "statvfs", lambda _: size)
    assert level(machine.shared_memory(0, 10**9, directory=str(tmp_path))) == [OK]
    assert level(machine.shared_memory(4, 8_000_000, directory=str(tmp_path))) == [OK]
    (found,) = machine.shared_memory(4, 9_000_000, directory=str(tmp_path))
    assert found.level == ERROR and "0.07 GB needed" in found.text and "--shm-size" in found.text


@pytest.mark.parametrize(
    ("kind", "limit", "expected", "words"),
    [
        (resource.RLIMIT_NOFILE, 65536, OK, "high enough"),
        (resource.RLIMIT_NOFILE, 1024, WARNING, "at most 1,024 files may be open: ulimit -n 65536"),
        (resource.RLIMIT_NOFILE, 200, ERROR, "at most 200 files"),
        (resource.RLIMIT_AS, 2**34, WARNING, "address space is limited to 17 GB"),
        (resource.RLIMIT_FSIZE, 10**8, WARNING, "files are limited to 0.10 GB"),
        (resource.RLIMIT_NPROC, 300, WARNING, "at most 300 processes and threads"),
    ],
)
def test_limits_of_the_process(monkeypatch, group, kind, limit, expected, words):
    limits = {resource.RLIMIT_NOFILE: 65536}
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    given = limits | {kind: limit}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (given.get(kind, resource.RLIM_INFINITY),) * 2)
    (found,) = machine.limits(group=group)
    assert found.level == expected and words in found.text


def test_a_limit_of_processes_of_the_container(monkeypatch, group):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    (group / "pids.max").write_text("1000\n")
    (group / "pids.current").write_text("900\n")
    (found,) = machine.limits(group=group)
    assert found.level == WARNING and "may start 100 more processes" in found.text


def test_a_clock_before_the_installation_is_a_warning(monkeypatch):
    assert level(machine.clock()) == [OK]
    monkeypatch.setattr(machine, "_newest_file", lambda: 4e9)
    assert level(machine.clock()) == [WARNING]
