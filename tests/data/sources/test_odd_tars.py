"""Tars whose headers state what cannot be, as the fuzzer's target 'webdataset' makes them: one line, never a hang."""

import tarfile

import pytest

from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from tests.data.sources.conftest import colored


def header(name, kind, size):
    """Returns a header with a right checksum that states any size, in base 256 as GNU tar stores large ones."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def file(name, content):
    return header(name, tarfile.REGTYPE, len(content)) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def extended(text):
    return header("x", tarfile.XHDTYPE, len(text)) + text + bytes(-len(text) % tarfile.BLOCKSIZE)


SAMPLE = file("1.jpg", colored(1)) + file("1.cls", b"0")
END = bytes(2 * tarfile.BLOCKSIZE)
ODD = {
    "extended header of a negative size": header("x", tarfile.XHDTYPE, -600),
    "extended header of 2**60 bytes": header("x", tarfile.XHDTYPE, 2**60),
    "name of 2**40 bytes": header("x", tarfile.GNUTYPE_LONGNAME, 2**40),
    "file that leads back to its header": header("x", tarfile.REGTYPE, -512),
    "file that leads back to the beginning": header("x", tarfile.REGTYPE, -(2**20)),
    "attribute without a number": extended(b"13 size=\0abc\n"),
    "attribute of many digits": extended(b"5022 size=" + b"9" * 5000 + b"\n"),
    "attribute of another length": extended(b"99999999999999999999 size=1\n"),
    "names of names": header("x", tarfile.GNUTYPE_LONGNAME, 0) * 3000,
}


@pytest.mark.parametrize("kind", ODD)
def test_a_header_that_cannot_be_is_one_line(kind, tmp_path):
    (tmp_path / "x-train-0000.tar").write_bytes(SAMPLE + ODD[kind] + SAMPLE + END)
    with pytest.raises(UsageError, match="truncated, damaged, compressed or not a tar") as raised:
        open_source("webdataset", data_dir=str(tmp_path))
    assert str(raised.value).isprintable()


def test_headers_of_the_same_make_are_read(tmp_path):
    long_name = b"n" * 200 + b".jpg"
    named = header("x", tarfile.GNUTYPE_LONGNAME, len(long_name)) + long_name + bytes(-len(long_name) % 512)
    label = b"n" * 200 + b".cls"
    named += file("x", colored(2)) + header("x", tarfile.GNUTYPE_LONGNAME, len(label)) + label
    named += bytes(-len(label) % 512) + file("x", b"1") + extended(b"14 comment=ab\n") + file("2.txt", b"a text")
    (tmp_path / "x-train-0000.tar").write_bytes(SAMPLE + named + END)
    source = open_source("webdataset", data_dir=str(tmp_path))
    assert [(source[k].image, source[k].label) for k in range(2)] == [(colored(1), 0), (colored(2), 1)]
