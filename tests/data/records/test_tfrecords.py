import concurrent.futures
import errno
import gzip
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from resnet_jax.data.records import tfrecords
from resnet_jax.data.records.tfrecords import open_tfrecords
from resnet_jax.errors import UsageError
from tests.data.record_files import framed, write_tfrecord

COUNTS = (7, 0, 12)


def content(file, number):
    return bytes([file, number]) * (50 + 20 * number)


@pytest.fixture
def paths(tmp_path):
    for file, count in enumerate(COUNTS):
        write_tfrecord(tmp_path / f"x-{file:05d}-of-00003", [content(file, number) for number in range(count)])
    return [str(path) for path in sorted(tmp_path.iterdir())]


@pytest.fixture
def walks(monkeypatch):
    """The shards whose headers are read."""
    walked = []
    find_records = tfrecords.find_records
    monkeypatch.setattr(tfrecords, "find_records", lambda path, fd: walked.append(path) or find_records(path, fd))
    return walked


def check(files, paths):
    assert [files.count(path) for path in paths] == list(COUNTS)
    for file, number in [(2, 11), (0, 6), (0, 0), (2, 0), (2, 11), (0, 3)]:
        assert files.read(paths[file], number) == content(file, number)


def indices(directory):
    return sorted(path.name for path in directory.glob(".*"))


def test_the_format_is_that_of_tensorflow():
    # tf.io.TFRecordWriter of TensorFlow 2.21: write(b"resnet"), write(b"")
    expected = "06000000000000007369d5377265736e657462abfb82000000000000000029039807d8ea82a2"
    assert (framed(b"resnet") + framed(b"")).hex() == expected


def test_records_are_read_at_random(paths):
    files = open_tfrecords(paths, cache_dir=None)
    check(files, paths)
    check(pickle.loads(pickle.dumps(files)), paths)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(check, files, paths) for _ in range(50)]:
            done.result()


def test_the_index_is_built_once(paths, tmp_path, walks):
    for _ in range(3):
        check(open_tfrecords(paths, cache_dir=None), paths)
    assert sorted(walks) == paths
    open_tfrecords(paths[:2], cache_dir=None)  # the index of a slice does not replace that of the split
    open_tfrecords(paths, cache_dir=None)
    assert len(walks) == 5 and len(indices(tmp_path)) == 2


@pytest.mark.parametrize("change", ["older", "longer", "damaged", "cut", "empty", "another version"])
def test_an_outdated_or_damaged_index_is_built_again(paths, tmp_path, walks, change, monkeypatch):
    open_tfrecords(paths, cache_dir=None)
    index = tmp_path / indices(tmp_path)[0]
    match change:
        case "older":
            os.utime(paths[0], ns=(0, 1))
        case "longer":
            status = Path(paths[0]).stat()
            write_tfrecord(tmp_path / "x-00000-of-00003", [content(0, number) for number in range(8)])
            os.utime(paths[0], ns=(0, status.st_mtime_ns))
        case "damaged":
            index.write_bytes(damage(index.read_bytes(), index.stat().st_size // 2))
        case "cut":
            index.write_bytes(index.read_bytes()[:-200])
        case "empty":
            index.write_bytes(b"")
        case "another version":
            monkeypatch.setattr(tfrecords, "_VERSION", 2)
    assert open_tfrecords(paths, cache_dir=None).count(paths[0]) == 7 + (change == "longer")
    assert len(walks) == 6
    open_tfrecords(paths, cache_dir=None)
    assert len(walks) == 6 and len(indices(tmp_path)) == 1


def test_beside_read_only_data_the_index_goes_to_the_cache_directory(paths, tmp_path, walks):
    open_tfrecords(paths, cache_dir=None)
    index = tmp_path / indices(tmp_path)[0]
    index.unlink()
    index.mkdir()  # a directory cannot be overwritten, not even by root
    cache_dir = tmp_path / "runs" / "first"
    for _ in range(2):
        check(open_tfrecords(paths, cache_dir=cache_dir), paths)
    assert len(walks) == 6 and indices(cache_dir) == [index.name] == indices(tmp_path)
    check(open_tfrecords(paths, cache_dir=None), paths)
    assert len(walks) == 9


def test_many_may_build_the_index_at_once(paths, tmp_path, monkeypatch):
    together, savez = threading.Barrier(4), np.savez
    monkeypatch.setattr(np, "savez", lambda *args, **kwargs: (together.wait(timeout=60), savez(*args, **kwargs)))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(open_tfrecords, paths, cache_dir=None) for _ in range(4)]:
            check(done.result(), paths)
    assert len(indices(tmp_path)) == 1


def damage(data, offset):
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], r"-of-00003 is truncated: it ends within record 6 \(1 bytes are missing\). Copy or"),
        (
            lambda data: data[: 116 + 5],
            "-of-00003 is truncated: it ends within the header of record 1. Copy or prepare",
        ),
        (lambda data: damage(data, 118), r"is damaged \(length of record 1, byte 116\): copy or prepare it again"),
        (lambda data: damage(data, 124), r"is damaged \(length of record 1, byte 116\): copy or prepare it again"),
        (lambda data: damage(data, 50), r"record 0 is damaged \(its data do not match their checksum\): copy or"),
        (lambda data: damage(data, len(data) - 1), r"record 6 is damaged \(its data do not match their checksum\)"),
        (gzip.compress, "is damaged, compressed, or not a TFRecord file"),
    ],
)
def test_damaged_files_are_named(paths, tmp_path, change, message):
    path = tmp_path / "x-00000-of-00003"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UsageError, match=message):
        open_tfrecords(paths, cache_dir=None)
    assert indices(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.symlink_to("moved"), "-of-00003 is a link to moved, which does not exist: copy the file "),
        (
            lambda path: path.symlink_to(path.name),
            "-of-00003 cannot be read .Too many levels of symbolic links.: check",
        ),
        (Path.mkdir, "-of-00003 cannot be read .Is a directory.: check that it exists, its permissions and the disk"),
        (lambda _path: None, "-of-00003 cannot be read .No such file or directory.: check that it exists"),
    ],
)
def test_files_that_cannot_be_read_are_named(paths, tmp_path, change, message):
    path = tmp_path / "x-00000-of-00003"
    path.unlink()
    change(path)
    with pytest.raises(UsageError, match=message):
        open_tfrecords(paths, cache_dir=None)


def test_unreadable_files_are_named_although_there_is_an_index(paths, monkeypatch):
    open_tfrecords(paths, cache_dir=None)
    os_open = os.open

    def open_others(path, *args, **kwargs):
        if path == paths[2]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return os_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_others)  # root ignores file modes
    with pytest.raises(UsageError, match="-00002-of-00003 cannot be read .Permission denied.: check that it exists"):
        open_tfrecords(paths, cache_dir=None)


def test_later_damage_is_an_error_of_that_record_only(tmp_path):
    path = tmp_path / "x"
    write_tfrecord(path, [content(0, number) for number in range(40)])
    files = open_tfrecords([str(path)], cache_dir=None)
    path.write_bytes(damage(path.read_bytes(), 130))
    with pytest.raises(ValueError, match="its data do not match their checksum"):
        files.read(str(path), 1)
    assert files.read(str(path), 2) == content(0, 2)
    path.write_bytes(path.read_bytes()[4:])
    with pytest.raises(ValueError, match="the file has changed since its records were found"):
        files.read(str(path), 2)
