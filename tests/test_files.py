"""Atomic writes, and JSON that cannot be read."""

import json
import os
from pathlib import Path

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.files import check_writable, locked, read_json, replacing, write_atomically, write_json
from tests.kinds_of_files import KINDS, NO_DIRECTORIES


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_a_reader_finds_the_old_or_the_new_content(tmp_path):
    path, seen = tmp_path / "file", []
    write_atomically(path, "old")

    with replacing(path) as part:
        part.write_text("half")
        seen.append(path.read_text())
        part.write_text("new")
    assert [*seen, path.read_text()] == ["old", "new"]
    assert names(tmp_path) == ["file"]


def test_text_is_utf_8_and_bytes_are_written_as_they_are(tmp_path):
    write_atomically(tmp_path / "text", "Größe\r\n")
    write_atomically(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "text").read_bytes() == "Größe\r\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(RuntimeError, match="the cause"), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError("the cause")
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_what_a_kill_left_is_overwritten(tmp_path):
    (tmp_path / "file.part").write_text("left by a process that was killed")
    write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new" and names(tmp_path) == ["file"]


def test_writers_with_names_of_their_own_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with replacing(path, unique=True) as one, replacing(path, unique=True) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() in ("one", "other") and names(tmp_path) == ["file"]


def test_synced_content_and_its_name_are_flushed_to_the_disk_in_this_order(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def record(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_atomically(tmp_path / "file", "content", sync=True)
    assert synced == [str(tmp_path / "file.part"), str(tmp_path)]


def test_json_is_read_back_and_laid_out_for_people(tmp_path):
    write_json(tmp_path / "file", {"a": [1, None]})
    assert read_json(tmp_path / "file", cure="") == {"a": [1, None]}
    assert (tmp_path / "file").read_text() == json.dumps({"a": [1, None]}, indent=2) + "\n"


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"{", "Expecting property name"), (b"\xff\xfe\xff", "utf-16")]
)
def test_json_that_cannot_be_read_is_one_line_with_the_cure(tmp_path, content, reason):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as raised:
        read_json(path, cure="remove it and run again")
    assert str(raised.value).startswith(f"{path} cannot be read (")
    assert str(raised.value).endswith("): remove it and run again") and "\n" not in str(raised.value)


@pytest.mark.parametrize(("kind", "make"), [("nothing", lambda path: None), *KINDS])
def test_an_output_file_replaces_only_a_file(kind, make, tmp_path):
    make(tmp_path / "x.json")
    if kind in ("nothing", "a file", "a link to nothing"):
        check_writable(tmp_path / "x.json", key="config.plan.json")
        return
    with pytest.raises(
        UsageError, match=rf"^config.plan.json='.*x.json' cannot be written \(it is {kind}\): set it to"
    ):
        check_writable(tmp_path / "x.json", key="config.plan.json")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "/dev/x.json", "/proc/x.json", "/sys/x.json"])
def test_no_output_file_is_put_among_the_devices_of_the_system(path):
    with pytest.raises(UsageError, match=rf"^config.plan.json='{path}' cannot be written \(.*\): set it to"):
        check_writable(Path(path), key="config.plan.json")


@pytest.mark.parametrize(("kind", "make"), NO_DIRECTORIES)
@pytest.mark.parametrize("below", ["", "run", "runs/first"])
def test_what_is_in_the_place_of_a_directory_is_named(below, kind, make, tmp_path):
    make(tmp_path / "x")
    with (
        pytest.raises(UsageError) as raised,
        locked(tmp_path / "x" / below / ".lock", what="work directory W", cure="choose another"),
    ):
        pass
    expected = f"{tmp_path / 'x'} is {kind}, not a directory"
    assert str(raised.value) == f"work directory W cannot be written ({expected}): choose another"
