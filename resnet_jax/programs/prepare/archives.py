"""Where each image stands in the archives: found from the headers of the tars, without reading an image."""

import contextlib
import dataclasses
import functools
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from resnet_jax.data import imagenet_classes
from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare.in_order import in_order

TRAIN = "ILSVRC2012_img_train.tar"  # a tar of 1,000 tars n01440764.tar, each of images n01440764_10026.JPEG
VALIDATION = "ILSVRC2012_img_val.tar"  # images ILSVRC2012_val_00000001.JPEG

_THREADS = 16  # they wait for the disk most of the time
_BLOCK = 512  # a tar is made of these; one of zeros, or two, ends it
_HEADER = 1024  # bytes read at once: a header and the byte before it

# The name is ASCII, and no longer than the patterns below allow; offset and size are in bytes.
_ROW = np.dtype([("name", "S40"), ("label", np.int64), ("offset", np.int64), ("size", np.int64)])

Found = Callable[[int], None]  # told how many images were found since the last call


@dataclasses.dataclass(frozen=True)
class Images:
    """Where the images of a split stand in their archive; row i of the table is image i, in the archive's order."""

    path: Path
    table: np.ndarray  # [N] of _ROW

    def __len__(self) -> int:
        return len(self.table)

    @property
    def names(self) -> np.ndarray:
        """The file name of each image. [N] bytes."""
        return self.table["name"]

    @property
    def labels(self) -> np.ndarray:
        """The class of each image. [N] int64."""
        return self.table["label"]

    @property
    def sizes(self) -> np.ndarray:
        """The bytes of each image. [N] int64."""
        return self.table["size"]

    def name(self, row: int) -> str:
        """The file name of an image, as n01440764_10026.JPEG."""
        return self.names[row].decode("ascii")

    def read(self, descriptor: int, row: int) -> bytes:
        """The file of an image, from the opened archive."""
        size = int(self.table["size"][row])
        try:
            encoded = os.pread(descriptor, size, int(self.table["offset"][row]))
        except OSError as error:
            raise unreadable(self.path, error) from None
        if len(encoded) != size:
            raise UsageError(f"{self.path} ends inside {self.name(row)}: get the archive again")
        return encoded


def scan_train(path: Path, found: Found, *, sequential: bool) -> Images:
    """Finds the images of ILSVRC2012_img_train.tar; labels come from the names of the files.

    Args:
      path: of the archive.
      found: told of new images.
      sequential: reads the archive front to back, else its headers alone.

    Raises:
      UsageError: the archive is cut short, holds what does not belong in it, or cannot be read; the message names it.
    """
    with opened(path, sequential=sequential) as descriptor:
        tars = _checked(_members(descriptor, 0, None, str(path)), _synset_of_tar, path)
        scan = functools.partial(_scan_synset, descriptor, path)
        parts = [np.zeros(0, _ROW)]
        num_threads = 1 if sequential else _THREADS
        for part in in_order(scan, tars, num_threads=num_threads, ahead=2 * num_threads):
            parts.append(part)
            found(len(part))
    return Images(path, np.concatenate(parts))


def scan_validation(path: Path, found: Found, *, sequential: bool) -> Images:
    """Finds the images of ILSVRC2012_img_val.tar; labels come from TFDS's list, by the number in the name.

    See `scan_train`.
    """
    with opened(path, sequential=sequential) as descriptor:
        members = _members(descriptor, 0, None, str(path))
        table = _checked(members, _synset_of_validation_image, path)
    found(len(table))
    return Images(path, table)


@contextlib.contextmanager
def opened(path: Path, *, sequential: bool) -> Iterator[int]:
    """A descriptor for reading front to back, or here and there: then reading ahead would read the whole file.

    Raises:
      UsageError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL if sequential else os.POSIX_FADV_RANDOM)
        yield descriptor
    finally:
        os.close(descriptor)


def unreadable(what: str | Path, error: OSError) -> UsageError:
    """The error of an archive that the system does not let be read."""
    reason = error.strerror or str(error)
    return UsageError(f"{what} cannot be read ({reason}): look after its permissions, its disk or its mount")


def _scan_synset(descriptor: int, path: Path, tar: np.void) -> np.ndarray:
    synset = imagenet_classes.synsets()[tar["label"]]
    where = f"{synset}.tar in {path}"
    members = _members(descriptor, int(tar["offset"]), int(tar["size"]), where)
    return _checked(members, functools.partial(_synset_of_image, synset), where)


def _checked(members: Iterator[tuple[str, int, int]], synset_of: Callable[[str], str], where: str | Path) -> np.ndarray:
    """The table of the members; a name that comes twice, or one that `synset_of` rejects, is an error."""
    rows, names = [], set()
    for name, offset, size in members:
        try:
            synset = synset_of(name)
            if name in names:
                raise ValueError("it is in there twice")
        except ValueError as error:
            raise UsageError(f"{name} does not belong in {where} ({error}): get the original archive") from None
        names.add(name)
        rows.append((name.encode("ascii"), imagenet_classes.labels()[synset], offset, size))
    return np.array(rows, _ROW)


def _synset_of_tar(name: str) -> str:
    match = re.fullmatch(r"(n\d{8})\.tar", name)
    if match is None:
        raise ValueError("it is not named as n01440764.tar")
    return _known(match[1])


def _synset_of_image(synset: str, name: str) -> str:
    match = re.fullmatch(r"(n\d{8})_\d{1,20}\.JPEG", name)
    if match is None:
        raise ValueError(f"it is not named as {synset}_10026.JPEG")
    if match[1] != synset:
        raise ValueError(f"it is an image of {_known(match[1])}")
    return synset


def _synset_of_validation_image(name: str) -> str:
    match = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", name)
    if match is None:
        raise ValueError("it is not named as ILSVRC2012_val_00000001.JPEG")
    if not 1 <= int(match[1]) <= len(imagenet_classes.validation_synsets()):
        raise ValueError(f"its number is not one of 1 to {len(imagenet_classes.validation_synsets()):,}")
    return imagenet_classes.validation_synsets()[int(match[1]) - 1]


def _known(synset: str) -> str:
    if synset not in imagenet_classes.labels():
        raise ValueError(f"{synset} is none of the {len(imagenet_classes.synsets()):,} classes of ILSVRC2012")
    return synset


def _members(descriptor: int, start: int, size: int | None, where: str) -> Iterator[tuple[str, int, int]]:
    """Yields base name, offset in the file and size of each file of the tar in `size` bytes from `start`; None: all."""
    try:
        size = os.fstat(descriptor).st_size - start if size is None else size
        file = io.BufferedReader(_Section(descriptor, start, size), _HEADER)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not member.isreg():
                    raise UsageError(f"{member.name} in {where} is no plain file: get the original archive")
                yield PurePosixPath(member.name).name, start + member.offset_data, member.size
            file.seek(tar.offset)
            if file.read(_BLOCK) != bytes(_BLOCK):  # tarfile takes a broken header for the end
                raise tarfile.ReadError(f"no end, no further file at byte {tar.offset:,}")
    except tarfile.ReadError as error:
        raise UsageError(f"{where} is cut short or damaged ({error}): get it again") from None
    except OSError as error:
        raise unreadable(where, error) from None


class _Section(io.RawIOBase):
    """A part of an open file as a file of its own; others may read the same descriptor meanwhile."""

    def __init__(self, descriptor: int, start: int, size: int):
        self._descriptor, self._start, self._size = descriptor, start, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._position))
        read = os.preadv(self._descriptor, [memoryview(buffer)[:wanted]], self._start + self._position)
        self._position += read
        return read
