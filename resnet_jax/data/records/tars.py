"""Random access to samples in tar files in the format of WebDataset, by an index that is built once and cached.

The members of a tar whose names are equal up to the first dot of the file name are one sample: 'a/7.jpg', 'a/7.cls'
and 'a/7.json' are the image and the label of sample 'a/7'. They follow each other in the tar.
"""

import functools
import io
import json
import logging
import os
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.data.records.index_cache import Index, cached_index, opened_shard
from resnet_jax.data.records.open_files import OpenFiles
from resnet_jax.data.records.scan import scan
from resnet_jax.data.records.tfrecord_format import open_at_random
from resnet_jax.data.regular_files import MAX_BYTES
from resnet_jax.errors import UsageError
from resnet_jax.text import printable

logger = logging.getLogger(__name__)

IMAGES = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "avif", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jp2")
_LABELS = ("cls", "json")  # endings of members that hold a label; if a sample has both, the first one counts
_KEYS = ("label", "cls", "class")  # keys of the label in a JSON member; the first that holds an integer counts
_VERSION = 1  # version of the format of the cached index
_READ_SIZE = 2048  # bytes per read of headers: a header and a label after it take two blocks of 512 bytes each
_MAX_LABEL_BYTES = 1 << 20  # a longer JSON member is not read
_MAX_HEADER_BYTES = 1 << 20  # most bytes of an extended header, which holds a long name or other metadata of a member


class Sample(NamedTuple):
    """Where the image of a sample lies in its tar, and its label."""

    key: str  # name of the members without their endings
    offset: int  # bytes from the start of the tar to the image file
    size: int  # bytes of the image file
    label: int


class TarFiles:
    """Implements `RecordFiles` for tars of samples: a record is the image file of a sample."""

    def __init__(self, paths: Sequence[str], index: Index):
        """Takes the paths of the tars and the arrays that `_build` returns."""
        firsts = np.cumsum(index["counts"]) - index["counts"]
        self._entries = dict(zip(paths, zip(firsts.tolist(), index["counts"].tolist(), strict=True), strict=True))
        self._index = index
        self._descriptors = OpenFiles(open_at_random, os.close)

    def count(self, path: str) -> int:
        """Implements `RecordFiles.count`: returns the number of samples in a tar."""
        return self._entries[path][1]

    def read(self, path: str, number: int) -> bytes:
        """Implements `RecordFiles.read`: returns the image file of a sample."""
        entry = self._entries[path][0] + number
        size = int(self._index["sizes"][entry])
        if size > MAX_BYTES:
            raise ValueError(f"the file has {size:,} bytes, more than an image of the allowed size: check what it is")
        with self._descriptors.opened(path) as descriptor:
            encoded = os.pread(descriptor, size, int(self._index["offsets"][entry]))
        if len(encoded) < size:
            raise ValueError("the tar is shorter than when it was indexed")
        return encoded

    def labels(self, path: str) -> np.ndarray:
        """Returns the labels of all samples in a tar: [N] int64."""
        first, count = self._entries[path]
        return self._index["labels"][first : first + count]

    def key(self, path: str, number: int) -> str:
        """Returns the key of a sample: the name of its members without their endings."""
        entry = self._entries[path][0] + number
        start = int(self._index["key_ends"][entry - 1]) if entry else 0
        return bytes(self._index["keys"][start : int(self._index["key_ends"][entry])]).decode("utf-8", "replace")


def open_tars(paths: Sequence[str], *, cache_dir: Path | None) -> TarFiles:
    """Opens tars by the index cached beside them or in `cache_dir`.

    Builds the index, which reads the headers of all members and the labels, if it is missing or the tars have changed.

    Args:
      paths: the distinct paths of the tars.
      cache_dir: directory for the index if the directory of the tars is read-only; None: the index is then not saved.

    Raises:
      UsageError: a tar cannot be read, is truncated, damaged or compressed, or has a sample without an integer label.
    """
    build = functools.partial(_build, paths)
    return TarFiles(paths, cached_index(paths, build, cache_dir=cache_dir, version=_VERSION, kind="tar_index"))


def _build(paths: Sequence[str]) -> Index:
    """Returns the index of F tars with N samples in all.

    Its arrays are `counts`, [F] int64, the number of samples of each tar; `offsets`, `sizes` and `labels`, [N] int64,
    the byte offset, the size and the label of each image; `keys`, [K] uint8, all keys in UTF-8, one after the other;
    and `key_ends`, [N] int64, the index in `keys` at which each key ends.
    """
    start = time.monotonic()
    logger.info("indexing the members of %d tars, for example %s", len(paths), paths[0])
    by_tar = scan(_samples, paths, title="members")
    samples = [sample for samples in by_tar for sample in samples]
    logger.info("indexed %d samples in %.1f s", len(samples), time.monotonic() - start)
    keys = [sample.key.encode("utf-8", "surrogateescape") for sample in samples]
    return {
        "counts": np.array([len(samples) for samples in by_tar], np.int64),
        "offsets": np.array([sample.offset for sample in samples], np.int64),
        "sizes": np.array([sample.size for sample in samples], np.int64),
        "labels": np.array([sample.label for sample in samples], np.int64),
        "key_ends": np.cumsum([len(key) for key in keys], dtype=np.int64),
        "keys": np.frombuffer(b"".join(keys), np.uint8),
    }


class _Member(NamedTuple):
    """A regular file in a tar."""

    key: str  # path up to the first dot of the file name
    ending: str  # what follows this dot, in lower case
    offset: int  # bytes from the start of the tar to the content
    size: int  # bytes


def _samples(path: str) -> list[Sample]:
    """Returns the samples of a tar, in the order in which the tar stores them."""
    samples: list[Sample] = []
    with opened_shard(path) as descriptor:
        group: list[_Member] = []
        for member in _members(path, descriptor):
            if group and group[0].key != member.key:
                samples += _sample(path, descriptor, group)
                group = []
            group.append(member)
        samples += _sample(path, descriptor, group) if group else []
    return samples


def _sample(path: str, descriptor: int, group: Sequence[_Member]) -> list[Sample]:
    """Returns a list of the one sample that the members form; [] if none of the members is an image."""
    by_ending = {member.ending.rpartition(".")[2]: member for member in group}
    image = next((by_ending[ending] for ending in IMAGES if ending in by_ending), None)
    if image is None:
        return []
    holder = next((by_ending[ending] for ending in _LABELS if ending in by_ending), None)
    where = f"{path} sample {printable(image.key)}"
    if holder is None:
        others = ", ".join(sorted(by_ending))
        raise UsageError(f"{where} has no label, only {others}: each image needs a member .cls or .json beside it")
    content = os.pread(descriptor, min(holder.size, _MAX_LABEL_BYTES), holder.offset)
    label = _label(content, is_json=holder.ending.endswith("json"))
    if label is None:
        raise UsageError(
            f"{where} has no integer label in its member .{holder.ending} ({content[:60]!r}): a .cls must hold the "
            f"number of the class from 0, a .json an object with it under {' or '.join(map(repr, _KEYS))}"
        )
    return [Sample(image.key, image.offset, image.size, label)]


def _label(content: bytes, *, is_json: bool) -> int | None:
    """Returns the label that a member holds; None if it holds no integer."""
    try:
        value: Any = json.loads(content) if is_json else int(content)
    except (ValueError, RecursionError):
        return None
    candidates = [value.get(key) for key in _KEYS] if isinstance(value, dict) else [value]
    return next((one for one in candidates if type(one) is int and abs(one) < 2**31), None)


def _members(path: str, descriptor: int) -> Iterator[_Member]:
    """Yields the regular files of a tar, read by their headers only."""
    size, end = os.fstat(descriptor).st_size, 0
    try:
        with tarfile.open(fileobj=_HeaderReader(_PositionedFile(descriptor), _READ_SIZE), mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep all members in memory
                if tar.offset <= end:  # the header of this member states a negative size
                    raise tarfile.ReadError(f"the header before byte {end:,} leads back")
                end = tar.offset
                if not member.isreg():
                    continue
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"it ends inside {member.name}")
                name = PurePosixPath(member.name)
                stem, _, ending = name.name.partition(".")
                key = str(name.with_name(stem)) if stem else str(name)
                yield _Member(key, ending.lower(), member.offset_data, member.size)
            if os.pread(descriptor, tarfile.BLOCKSIZE, tar.offset).strip(b"\0") or tar.offset >= size:
                raise tarfile.ReadError(f"no valid header at byte {tar.offset:,}")
    except OSError:
        raise
    except Exception as error:  # tarfile raises errors of many types for damaged headers
        raise UsageError(
            f"{path} is truncated, damaged, compressed or not a tar ({printable(str(error))}): copy it again, or "
            "unpack a compressed tar with gunzip"
        ) from None


class _HeaderReader(io.BufferedReader):
    """Reads the headers of a tar, none of which is large."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns the next bytes. Raises ReadError if a header states a wrong length."""
        if size is None or not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header states {size} bytes of names and attributes")
        return super().read(size)


class _PositionedFile(io.RawIOBase):
    """An open file with a position of its own, so that several objects can read from one descriptor."""

    def __init__(self, descriptor: int):
        self._descriptor, self._position = descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._descriptor).st_size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        read = os.preadv(self._descriptor, [buffer], self._position)
        self._position += read
        return read
