import os

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.local_paths import (
    check_local,
    kind_of,
    local_path,
    system_devices,
    system_place,
    with_relative_paths,
)
from tests.kinds_of_files import KINDS


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        ("gs://bucket/run", "mount the bucket"),
        ("gs:/bucket/run", "mount the bucket"),
        ("s3://b", "mount the bucket"),
        ("abfs+x://b/c", "mount the bucket"),
        ("runs/gs://bucket", "mount the bucket"),
        ("://", "mount the bucket"),
        ("https://host/w.pth", "download the files"),
        ("FTP://host/w.pth", "download the files"),
        ("file:///tmp/x", "leave out 'file://'"),
    ],
)
def test_an_address_is_refused_with_the_cure(address, cure):
    for check in (check_local, local_path):
        with pytest.raises(UsageError) as found:
            check(address, name="--workdir")
        assert str(found.value).startswith(f"--workdir={address} is not a local path: {cure}")


@pytest.mark.parametrize(
    "path", ["", ".", "runs/a:b", "a b", "/x/resnet50_fast.py:32", "C:/x", "~", "x~y", "latest", "ü", "12"]
)
def test_any_other_text_is_a_path(path):
    assert local_path(path, name="--workdir") == local_path(local_path(path, name="x"), name="--workdir")


def test_paths_below_the_current_directory_are_shown_as_a_user_types_them(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    here = tmp_path / "a"
    for text, expected in {
        f"{here}/runs/b is a file": "runs/b is a file",
        f"run --workdir={here}/runs/b '{here}/c d'": "run --workdir=runs/b 'c d'",
        f"({here}/x), {here}/y": "(x), y",
        f"{here}b/x /mnt{here}/x {here} {here}/ .{here}/x": f"{here}b/x /mnt{here}/x {here} {here}/ .{here}/x",
    }.items():
        assert with_relative_paths(text) == expected
    monkeypatch.chdir("/")
    assert with_relative_paths("/usr/bin") == "/usr/bin"


def test_home_directories(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(local_path("~/runs", name="--workdir")) == "/home/me/runs"
    with pytest.raises(UsageError, match=r"^--workdir=~nobody9/runs begins with the home directory of a user, which"):
        local_path("~nobody9/runs", name="--workdir")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: (_ for _ in ()).throw(KeyError(number)))
    with pytest.raises(UsageError, match="give an absolute path, or set the environment variable HOME"):
        local_path("~/runs", name="--workdir")


def test_what_cannot_be_a_path(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for text in (str(tmp_path / "a"), "x\0y"):
        with pytest.raises(UsageError, match=r"^--workdir=.* give another path$"):
            local_path(text, name="--workdir")


def test_a_path_that_is_not_utf8_is_refused_only_where_libraries_cannot_open_it(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(path)  # noqa: PTH102
    text = os.fsdecode(path)
    assert local_path(text, name="config.data.data_dir").is_dir()
    (tmp_path / "link").symlink_to(text)
    for given in (text, str(tmp_path / "link" / "run")):
        with pytest.raises(UsageError, match=r"^--workdir=.*caf\\xe9.* has bytes that are not UTF-8"):
            local_path(given, name="--workdir", only_utf8=True)


@pytest.mark.parametrize(("kind", "make"), KINDS)
def test_kinds_are_named(kind, make, tmp_path):
    assert kind_of(tmp_path / "x") == "nothing"
    make(tmp_path / "x")
    assert kind_of(tmp_path / "x") == kind_of(os.fsencode(tmp_path / "x")) == kind


def test_places_of_the_system(tmp_path):
    (tmp_path / "link").symlink_to("/proc/self")
    for path in ("/proc/self", "/proc/self/task/../fd", "/dev", "/dev/null", "/sys/fs", tmp_path / "link" / "fd"):
        assert system_place(path) == "/" + os.path.realpath(path).split("/")[1]
    for path in (tmp_path, "/dev/shm", "/dev/shm/run", "/process", "/", "dev", f"/proc/self/cwd/{tmp_path.name}"):
        assert system_place(path) is None
    assert system_place("/proc/1/cwd/x") in ("/proc", None)  # the link may be unreadable, or lead elsewhere
    assert os.stat("/proc").st_dev in system_devices()  # noqa: PTH116
    assert not {os.stat(place).st_dev for place in ("/", "/dev/shm", tmp_path)} & system_devices()  # noqa: PTH116
