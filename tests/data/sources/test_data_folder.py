"""A data_dir that is empty, too long or must not be read is one line that names it, from every source."""

import errno
import os

import pytest

from resnet_jax.data.sources import open_source
from resnet_jax.data.sources.splits import parse_split
from resnet_jax.errors import UsageError
from tests.kinds_of_files import NO_DIRECTORIES

SOURCES = ["cifar_binary", "folder", "parquet", "tfds", "tfrecord", "webdataset"]
NUMBERS = {"must not be read": errno.EACCES, "stale": errno.ESTALE, "link to itself": errno.ELOOP}


def message_of(kind, data_dir, **options):
    with pytest.raises(UsageError) as raised:
        open_source(kind, data_dir=str(data_dir), **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("kind", SOURCES)
def test_an_empty_name_is_not_the_current_directory(kind):
    assert message_of(kind, "").startswith("config.data.data_dir is empty: ")


@pytest.mark.parametrize("kind", SOURCES)
def test_a_name_that_is_too_long(kind, tmp_path):
    name = tmp_path / ("y" * 300)
    assert message_of(kind, name).startswith(f"config.data.data_dir={name} cannot be listed (File name too long)")


@pytest.mark.parametrize("why", NUMBERS)
@pytest.mark.parametrize("kind", SOURCES)
def test_a_folder_that_cannot_be_listed(kind, why, tmp_path, monkeypatch):
    scandir = os.scandir

    def refuse(path="."):
        if os.fspath(path) == str(tmp_path):
            raise OSError(NUMBERS[why], os.strerror(NUMBERS[why]), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    message = message_of(kind, tmp_path)
    assert message.startswith(f"config.data.data_dir={tmp_path} cannot be listed ({os.strerror(NUMBERS[why])}): give")
    assert "CLS-LOC" not in message


@pytest.mark.parametrize("kind", ["folder", "tfds"])
def test_a_split_of_many_parts_is_one_line(kind, tmp_path):
    many = "+".join(["train"] * 2000)
    if kind == "folder":
        (tmp_path / "train" / "a").mkdir(parents=True)
    options = {"name": "digits"} if kind == "tfds" else {}
    message = message_of(kind, tmp_path, train_split=many, **options)
    assert "config.data.train_split='train+train" in message and "2,000 parts, more than 100" in message
    assert len(message) < 200
    assert len(parse_split("train_split", "+".join(["train"] * 100)).parts) == 100


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("place", ["/proc/self", "/proc", "/dev", "/dev/null", "/sys/class"])
def test_a_folder_of_the_system_is_refused_before_it_is_listed(kind, place, monkeypatch):
    monkeypatch.setattr(os, "scandir", lambda path: pytest.fail(f"lists {path}"))
    message = message_of(kind, place)
    assert message.startswith(f"config.data.data_dir={place} is in /{place.split('/')[1]}, whose files are processes")


@pytest.mark.parametrize(("what", "make"), [kind for kind in NO_DIRECTORIES if kind[0] != "a link to nothing"])
@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_no_directory_is_named(kind, what, make, tmp_path):
    make(tmp_path / "x")
    expected = "/dev, whose files" if what == "a device" else f" is {what}, not a directory: give the directory of"
    assert expected in message_of(kind, tmp_path / "x")
