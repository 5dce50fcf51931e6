import os
import socket
from pathlib import Path

import pytest

from resnet_jax.data import regular_files
from resnet_jax.data.records.array_records import open_array_records
from resnet_jax.data.records.tfrecords import open_tfrecords
from resnet_jax.data.regular_files import open_regular, read_regular
from resnet_jax.data.sources.cifar_binary import FixedLengthFiles
from resnet_jax.data.sources.files import FilesSource
from resnet_jax.errors import UsageError


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(path.parent, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{directory}/{path.name}")  # a path of any length: an address has 107 bytes
    os.close(directory)
    listener.close()


SPECIAL = {
    "FIFO": make_fifo,
    "socket": make_socket,
    "folder": lambda path: path.mkdir(),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "huge file": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**40),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_image_file_is_unreadable_at_once(tmp_path, kind):
    path = tmp_path / "x.jpg"
    SPECIAL[kind](path)
    for read in (lambda: read_regular(os.fsencode(path)), lambda: FilesSource([str(path)])[0]):
        with pytest.raises(ValueError, match="."):
            read()


@pytest.mark.parametrize("kind", ["FIFO", "socket", "folder", "endless device", "link to itself"])
@pytest.mark.parametrize(
    "open_shards",
    [lambda paths: open_tfrecords(paths, cache_dir=None), open_array_records, FixedLengthFiles],
    ids=["tfrecord", "array_record", "cifar"],
)
def test_a_shard_that_is_no_file_is_one_line(tmp_path, kind, open_shards):
    path = tmp_path / "x-00000-of-00001"
    SPECIAL[kind](path)
    with pytest.raises(UsageError, match="x-00000-of-00001 cannot be read") as caught:
        open_shards([str(path)])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_not_permitted_may_be_there_later(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_a_file_that_arrives_in_pieces_is_read_whole(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(bytes(range(250)))
    read = os.read
    monkeypatch.setattr(regular_files.os, "read", lambda descriptor, size: read(descriptor, min(size, 7)))
    assert read_regular(tmp_path / "x") == bytes(range(250))
    (tmp_path / "x").write_bytes(b"")
    assert read_regular(tmp_path / "x") == b""


def test_no_descriptor_stays_open(tmp_path):
    make_fifo(tmp_path / "x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(ValueError, match="named pipe"):
            read_regular(tmp_path / "x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
