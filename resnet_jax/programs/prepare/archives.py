"""Finds all images in the archives of ILSVRC2012 by reading the tar headers only."""

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

TRAIN = "ILSVRC2012_img_train.tar"  # contains 1,000 tars such as n01440764.tar with n01440764_10026.JPEG, ...
VALIDATION = "ILSVRC2012_img_val.tar"  # contains ILSVRC2012_val_00000001.JPEG, ...

_THREADS = 16  # may exceed the number of CPU cores, because the threads mostly wait for the disk
_BLOCK = 512  # bytes of a tar block; one or two blocks of zeros end a tar
_READ_SIZE = 1024  # bytes per read: enough for what tarfile needs, the byte before a header and its 512 bytes

# A member of a tar: its name, its class index, and where its content lies in the archive, in bytes. Names fit into 40
# bytes of ASCII, because the functions `_synset_of_...` accept no others.
_ROW = np.dtype([("name", "S40"), ("label", np.int64), ("offset", np.int64), ("size", np.int64)])

OnFound = Callable[[int], None]  # called with the number of images found since the last call


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a split and their locations in the archive, in the order of the archive."""

    path: Path
    table: np.ndarray  # [N] records of dtype _ROW

    def __len__(self) -> int:
        return len(self.table)

    @property
    def names(self) -> np.ndarray:
        """File names: [N] ASCII byte strings."""
        return self.table["name"]

    @property
    def labels(self) -> np.ndarray:
        """Class indices: [N] int64."""
        return self.table["label"]

    @property
    def sizes(self) -> np.ndarray:
        """File sizes in bytes: [N] int64."""
        return self.table["size"]

    def name(self, row: int) -> str:
        """Returns the file name of an image, for example 'n01440764_10026.JPEG'."""
        return self.names[row].decode("ascii")

    def read(self, descriptor: int, row: int) -> bytes:
        """Reads the file of an image from the open archive."""
        size = int(self.table["size"][row])
        try:
            encoded = os.pread(descriptor, size, int(self.table["offset"][row]))
        except OSError as error:
            raise unreadable(self.path, error) from None
        if len(encoded) != size:
            raise UsageError(f"{self.path} ends inside {self.name(row)}: download the archive again")
        return encoded


def scan_train(path: Path, on_found: OnFound, *, sequential: bool) -> Images:
    """Finds the images of ILSVRC2012_img_train.tar; labels come from the file names.

    Args:
      path: path of the archive.
      on_found: progress callback, called with the number of images found since the last call.
      sequential: read the archive front to back in one thread, for disks on which seeking is slow; otherwise read the
        headers in several threads.

    Raises:
      UsageError: the archive is truncated, contains an unexpected file, or cannot be read.
    """
    with opened(path, sequential=sequential) as descriptor:
        tars = _checked(_members(descriptor, 0, None, str(path)), _synset_of_tar, path)
        scan = functools.partial(_scan_synset, descriptor, path)
        tables = [np.zeros(0, _ROW)]
        num_threads = 1 if sequential else _THREADS
        for table in in_order(scan, tars, num_threads=num_threads, ahead=2 * num_threads):
            tables.append(table)
            on_found(len(table))
    return Images(path, np.concatenate(tables))


def scan_validation(path: Path, on_found: OnFound, *, sequential: bool) -> Images:
    """Finds the images of ILSVRC2012_img_val.tar.

    The file names contain the numbers 1 to 50,000. The class of image N is the N-th entry of `validation_synsets()`, a
    list from TFDS.
    Arguments and errors are those of `scan_train`.
    """
    with opened(path, sequential=sequential) as descriptor:
        members = _members(descriptor, 0, None, str(path))
        table = _checked(members, _synset_of_validation_image, path)
    on_found(len(table))
    return Images(path, table)


@contextlib.contextmanager
def opened(path: Path, *, sequential: bool) -> Iterator[int]:
    """Opens a file for reading, yields its descriptor, and closes it when the `with` block ends.

    Args:
      path: path of the file.
      sequential: whether the caller reads the file front to back. If not, tells the operating system not to read ahead.

    Raises:
      UsageError: the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        if hasattr(os, "posix_fadvise"):  # macOS does not have it
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL if sequential else os.POSIX_FADV_RANDOM)
        yield descriptor
    finally:
        os.close(descriptor)


def unreadable(what: str | Path, error: OSError) -> UsageError:
    """Makes the error for an archive that cannot be read."""
    reason = error.strerror or str(error)
    return UsageError(f"{what} cannot be read ({reason}): check its permissions, disk and mount")


def _scan_synset(descriptor: int, path: Path, tar: np.void) -> np.ndarray:
    synset = imagenet_classes.synsets()[tar["label"]]
    where = f"{synset}.tar in {path}"
    members = _members(descriptor, int(tar["offset"]), int(tar["size"]), where)
    return _checked(members, functools.partial(_synset_of_image, synset), where)


def _checked(members: Iterator[tuple[str, int, int]], synset_of: Callable[[str], str], where: str | Path) -> np.ndarray:
    """Returns the members of a tar as [N] records of dtype `_ROW`.

    Args:
      members: name, offset and size of each member.
      synset_of: returns the class of a member by its name, as a WordNet ID; raises ValueError for an unexpected name.
      where: description of the tar, for messages.

    Raises:
      UsageError: a name is unexpected or occurs twice.
    """
    rows, names = [], set()
    for name, offset, size in members:
        try:
            synset = synset_of(name)
            if name in names:
                raise ValueError("this name occurs twice in the archive")
        except ValueError as error:
            raise UsageError(f"{where} contains {name} ({error}): download the original archive") from None
        names.add(name)
        rows.append((name.encode("ascii"), imagenet_classes.labels()[synset], offset, size))
    return np.array(rows, _ROW)


def _synset_of_tar(name: str) -> str:
    match = re.fullmatch(r"(n\d{8})\.tar", name)
    if match is None:
        raise ValueError("expected a name such as n01440764.tar")
    return _known(match[1])


def _synset_of_image(synset: str, name: str) -> str:
    match = re.fullmatch(r"(n\d{8})_\d{1,20}\.JPEG", name)
    if match is None:
        raise ValueError(f"expected a name such as {synset}_10026.JPEG")
    if match[1] != synset:
        raise ValueError(f"it is an image of class {_known(match[1])}")
    return synset


def _synset_of_validation_image(name: str) -> str:
    match = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", name)
    if match is None:
        raise ValueError("expected a name such as ILSVRC2012_val_00000001.JPEG")
    if not 1 <= int(match[1]) <= len(imagenet_classes.validation_synsets()):
        raise ValueError(f"the number in its name is not in 1..{len(imagenet_classes.validation_synsets()):,}")
    return imagenet_classes.validation_synsets()[int(match[1]) - 1]


def _known(synset: str) -> str:
    if synset not in imagenet_classes.labels():
        raise ValueError(f"{synset} is not one of the {len(imagenet_classes.synsets()):,} classes of ILSVRC2012")
    return synset


def _members(descriptor: int, start: int, size: int | None, where: str) -> Iterator[tuple[str, int, int]]:
    """Yields the base name, offset and size in bytes of each file in a tar.

    Args:
      descriptor: descriptor of the file that contains the tar.
      start: offset of the tar in the file, in bytes.
      size: size of the tar in bytes; None: up to the end of the file.
      where: description of the tar, for messages.
    """
    try:
        size = os.fstat(descriptor).st_size - start if size is None else size
        file = io.BufferedReader(_Section(descriptor, start, size), _READ_SIZE)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not member.isreg():
                    raise UsageError(
                        f"{where} contains {member.name}, which is not a regular file: download the original archive"
                    )
                yield PurePosixPath(member.name).name, start + member.offset_data, member.size
            file.seek(tar.offset)
            # The loop ends at a block of zeros, the end of the tar, but also at a broken header.
            if file.read(_BLOCK) != bytes(_BLOCK):
                raise tarfile.ReadError(f"no valid header at byte {tar.offset:,}")
    except tarfile.ReadError as error:
        raise UsageError(f"{where} is truncated or damaged ({error}): download the archive again") from None
    except OSError as error:
        raise unreadable(where, error) from None


class _Section(io.RawIOBase):
    """A byte range of an open file, as a file object. Several threads may read from the same descriptor at a time."""

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
        count = max(0, min(len(buffer), self._size - self._position))
        read = os.preadv(self._descriptor, [memoryview(buffer)[:count]], self._start + self._position)
        self._position += read
        return read
