"""Target 'webdataset': a tar of samples is read, or it is one UsageError; an image is always part of the tar."""

import io
import json
import logging
import tarfile
import tempfile
from pathlib import Path

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from fuzz.target import Target, check_message, damaged, silent
from resnet_jax.data.sources.webdataset import open_source
from resnet_jax.errors import UsageError

logging.getLogger("resnet_jax").addHandler(logging.NullHandler())

_IMAGE = b"P5 3 2 255\n" + bytes(range(0, 240, 40))
_LONG = "long/" * 30 + "name"  # longer than the 100 bytes of a header
_TYPES = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
_LINKED_TYPES = [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, tarfile.XGLTYPE, b"Z", b"\xff"]


def inputs() -> SearchStrategy[bytes]:
    """Returns a strategy for damaged tars of three formats, and for tars of odd members."""
    formats = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    samples = [("a/1.jpg", _IMAGE), ("a/1.cls", b"1"), ("2.JPG", _IMAGE), ("2.json", json.dumps({"label": 0}).encode())]
    whole = [_tar([*samples, (_LONG[:90] + ".jpg", _IMAGE), (_LONG[:90] + ".cls", b"0")], kind) for kind in formats]
    whole += [_tar([(f"{_LONG}.jpg", _IMAGE), (f"{_LONG}.cls", b"0")], kind) for kind in formats[1:]]
    names = strategies.one_of(
        strategies.sampled_from(["1.jpg", "1.cls", "1.json", ".jpg", "..", ".", "/", "a/.", "x.", "\x1b.cls", "é.png"]),
        strategies.text(max_size=8),
    )
    contents = strategies.one_of(
        strategies.sampled_from([_IMAGE, b"0", b"-1", b"1e3", b"1_0", b'{"label": 2}', b'{"label": [1]}', b"9" * 30]),
        strategies.sampled_from([b"[" * 10**5, b"30 path=a\n", b"13 size=\x00\n", b"99999999999999999999 size=1\n"]),
        strategies.binary(max_size=20),
    )
    headers = strategies.tuples(
        strategies.sampled_from([*_TYPES, *_LINKED_TYPES]),
        strategies.none() | strategies.integers(-(2**62), 2**62) | strategies.integers(-600, 1200),
    )
    members = strategies.lists(strategies.tuples(names, contents, strategies.none() | headers), max_size=6)
    return strategies.one_of(damaged(whole), members.map(_odd_tar), strategies.binary(max_size=600))


def check(data: bytes) -> None:
    """Opens a split of one tar twice, the second time from the index that was saved, and reads all its samples."""
    with tempfile.TemporaryDirectory() as directory, silent():
        (Path(directory) / "set-train-000000.tar").write_bytes(data)
        sources = []
        for _ in range(2):
            try:
                sources.append(open_source(data_dir=directory))
            except UsageError as error:
                check_message(error)
        assert len(sources) in (0, 2)
        if sources:
            _check_samples(*sources, data)


def _check_samples(source: object, again: object, data: bytes) -> None:
    assert len(source) == len(again) > 0
    for index in range(len(source)):
        try:
            example = source[index]
        except ValueError as error:
            check_message(error)
            continue
        assert example.image in data and 0 <= example.label < len(source.class_names)
        assert again[index].image == example.image and again[index].label == example.label
        assert source.where(index).startswith("/") and source.example_id(index)


def _tar(members: list[tuple[str, bytes]], kind: int) -> bytes:
    """Returns a tar of regular files in one of the formats of tarfile."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return file.getvalue()[: -tarfile.RECORDSIZE + 2 * tarfile.BLOCKSIZE] or b""


def _odd_tar(members: list[tuple[str, bytes, tuple[bytes, int | None] | None]]) -> bytes:
    """Returns a tar whose headers may state another type and size than their content has; the checksums are right."""
    blocks = []
    for name, content, odd in members:
        header = tarfile.TarInfo(name)
        header.type, size = odd or (tarfile.REGTYPE, None)
        header.size = len(content)
        block = bytearray(header.tobuf(tarfile.GNU_FORMAT, errors="replace")[-tarfile.BLOCKSIZE :])
        if size is not None:
            block[124:136] = b"\xff" + (size % 2**88).to_bytes(11, "big") if size < 0 else _size(size)
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
        blocks.append(bytes(block) + content + bytes(-len(content) % tarfile.BLOCKSIZE))
    return b"".join(blocks) + bytes(2 * tarfile.BLOCKSIZE)


def _size(size: int) -> bytes:
    """Returns a size of at least 0 as GNU tar stores it: in octal digits if they suffice, else in base 256."""
    return b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")


TARGET = Target(inputs, check)
