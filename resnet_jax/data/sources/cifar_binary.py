"""CIFAR-10 in its binary version, as r1 reads it: records of a fixed length, 10,000 in each of six files.

A record is a label and an image, 1 + 3 x 32 x 32 bytes: its red values row by row, then the green, then the blue.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnet_jax.data.records.open_files import OpenFiles
from resnet_jax.data.records.records import Part, Records
from resnet_jax.data.records.tfrecord_format import open_at_random
from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError

_SIDE = 32  # pixels
RECORD_BYTES = 1 + 3 * _SIDE * _SIDE
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_NAMES_FILE = "batches.meta.txt"
_FOLDER = "cifar-10-batches-bin"  # that the archive unpacks to
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


class FixedLengthFiles:
    """Files of records of `RECORD_BYTES`. Not mapped into memory: there a disk that fails would end the process."""

    def __init__(self, paths: Sequence[str]):
        """Counts and looks at the records.

        Raises:
          UsageError: a file is missing, or is not what it should be.
        """
        self._counts = {path: _count(path) for path in paths}
        self._descriptors = OpenFiles(open_at_random, os.close)

    def count(self, path: str) -> int:
        """See `RecordFiles`."""
        return self._counts[path]

    def read(self, path: str, position: int) -> bytes:
        """See `RecordFiles`."""
        with self._descriptors.opened(path) as descriptor:
            record = os.pread(descriptor, RECORD_BYTES, position * RECORD_BYTES)
        if len(record) < RECORD_BYTES:
            raise ValueError("the file has become shorter")
        return record


class CifarBinarySource:
    """One split; images are pixels already."""

    def __init__(self, name: str, records: Records, class_names: tuple[str, ...]):
        self.name, self.class_names, self._records = name, class_names, records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = np.frombuffer(self._records[index], np.uint8)
        planes = record[1:].reshape(3, _SIDE, _SIDE)
        return Example(np.ascontiguousarray(planes.transpose(1, 2, 0)), int(record[0]))

    def where(self, index: int) -> str:
        """See `Source`."""
        return self._records.where(index)


def open_source(*, training: bool, data_dir: str | None) -> CifarBinarySource:
    """Opens the training or the test images.

    Args:
      training: the five training files, else the test file.
      data_dir: the folder that holds the files, or that the archive was unpacked in.

    Raises:
      UsageError: a file is missing, is no sequence of such records, or holds a label above 9.
    """
    if data_dir is None:
        raise UsageError(
            "config.data.source=cifar_binary needs --config.data.data_dir=DIR with DIR/data_batch_1.bin to "
            f"data_batch_5.bin and DIR/test_batch.bin: unpack {_URL} there"
        )
    root = Path(data_dir).expanduser()
    folder = root if (root / TEST_FILES[0]).exists() else root / _FOLDER if (root / _FOLDER).is_dir() else root
    paths = [str(folder / file) for file in (TRAIN_FILES if training else TEST_FILES)]
    files = FixedLengthFiles(paths)
    records = Records(files, [Part(path, 0, files.count(path)) for path in paths])
    return CifarBinarySource(f"cifar_binary/{'train' if training else 'test'}", records, _class_names(folder))


def _count(path: str) -> int:
    """How many records a file holds; their labels are looked at."""
    try:
        content = np.frombuffer(Path(path).read_bytes(), np.uint8)
    except FileNotFoundError:
        raise UsageError(f"there is no {path}: set --config.data.data_dir=DIR, and unpack {_URL} there") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): may you read it, is the disk all right?") from None
    count, rest = divmod(len(content), RECORD_BYTES)
    if rest or not count:
        raise UsageError(
            f"{path} has {len(content):,} bytes, which is no whole number of records of {RECORD_BYTES:,} as CIFAR-10's "
            f"binary version has them: unpack {_URL} again"
        )
    labels = content[::RECORD_BYTES]
    wrong = np.flatnonzero(labels >= len(CLASSES))
    if len(wrong):
        raise UsageError(
            f"{path} record {wrong[0]} has label {labels[wrong[0]]}, outside 0..{len(CLASSES) - 1}: "
            f"is it CIFAR-10's binary version? Unpack {_URL} again"
        )
    return count


def _class_names(folder: Path) -> tuple[str, ...]:
    """Those that lie beside the data, else the known ones."""
    file = folder / _NAMES_FILE
    try:
        names = file.read_text().split()
    except FileNotFoundError:
        return CLASSES
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read ({error}): remove it, or unpack {_URL} again") from None
    if len(names) != len(CLASSES):
        raise UsageError(f"{file} has {len(names)} names, not the {len(CLASSES)} of CIFAR-10: remove it")
    return tuple(names)
