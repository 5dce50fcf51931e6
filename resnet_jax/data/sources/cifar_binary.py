"""The binary version of CIFAR-10: six files, each with 10,000 records of fixed length.

A record has 1 + 3 x 32 x 32 bytes: the label, then the red plane row by row, the green plane, the blue plane. The r1.x
ResNet of the TensorFlow Models repository reads the same files.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnet_jax.data.records.open_files import OpenFiles
from resnet_jax.data.records.records import Records, ShardRange
from resnet_jax.data.records.tfrecord_format import open_at_random
from resnet_jax.data.regular_files import read_regular
from resnet_jax.data.sources.image_folders import data_folder, image_folders_instead
from resnet_jax.data.sources.source import Example
from resnet_jax.errors import UsageError

_SIDE = 32  # pixels
RECORD_BYTES = 1 + 3 * _SIDE * _SIDE
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_NAMES_FILE = "batches.meta.txt"
_FOLDER = "cifar-10-batches-bin"  # name of the folder that unpacking the archive makes
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


class FixedLengthFiles:
    """Implements `RecordFiles` for records of `RECORD_BYTES` bytes; uses no mmap, so that disk errors raise OSError."""

    def __init__(self, paths: Sequence[str]):
        """Counts the records of each file and checks their labels.

        Raises:
          UsageError: a file is missing, has an unexpected length or holds an unexpected label.
        """
        self._counts = {path: _count(path) for path in paths}
        self._descriptors = OpenFiles(open_at_random, os.close)

    def count(self, path: str) -> int:
        """Implements `RecordFiles.count`: returns the number of records in a file."""
        return self._counts[path]

    def read(self, path: str, number: int) -> bytes:
        """Implements `RecordFiles.read`: returns the data of one record of a file."""
        with self._descriptors.opened(path) as descriptor:
            record = os.pread(descriptor, RECORD_BYTES, number * RECORD_BYTES)
        if len(record) < RECORD_BYTES:
            raise ValueError("the file is shorter than when it was opened")
        return record


class CifarBinarySource:
    """One split of CIFAR-10; its examples are pixels, not encoded image files."""

    def __init__(self, name: str, records: Records, class_names: tuple[str, ...]):
        self.name, self.class_names, self._records = name, class_names, records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = np.frombuffer(self._records[index], np.uint8)
        planes = record[1:].reshape(3, _SIDE, _SIDE)
        return Example(np.ascontiguousarray(planes.transpose(1, 2, 0)), int(record[0]))

    def where(self, index: int) -> str:
        """Implements `Source.where`: returns the file of an example and its record number."""
        return self._records.where(index)

    def example_id(self, index: int) -> str:
        """Implements `Identified`: returns the name of the file and the number of the record."""
        return self._records.record_id(index)


def open_source(*, training: bool = True, data_dir: str | None = None) -> CifarBinarySource:
    """Opens the training or the test split of CIFAR-10.

    Args:
      training: open the five training files, otherwise the test file.
      data_dir: the folder that holds the files, or the folder in which the archive was unpacked.

    Raises:
      UsageError: a file is missing, is not a whole number of records, or holds a label above 9.
    """
    if data_dir is None:
        raise UsageError(
            "config.data.source=cifar_binary needs --config.data.data_dir=DIR with DIR/data_batch_1.bin to "
            f"data_batch_5.bin and DIR/test_batch.bin: unpack {_URL} there"
        )
    root = data_folder(data_dir)
    folder = root if (root / TEST_FILES[0]).exists() else root / _FOLDER if (root / _FOLDER).is_dir() else root
    instead = None if (folder / TEST_FILES[0]).exists() else image_folders_instead(root)
    if instead is not None:
        raise UsageError(f"config.data.source=cifar_binary finds no binary files of CIFAR-10: {instead}")
    paths = [str(folder / file) for file in (TRAIN_FILES if training else TEST_FILES)]
    files = FixedLengthFiles(paths)
    records = Records(files, [ShardRange(path, 0, files.count(path)) for path in paths])
    return CifarBinarySource(f"cifar_binary/{'train' if training else 'test'}", records, _class_names(folder))


def _count(path: str) -> int:
    """Returns the number of records in a file, after checking the length of the file and the labels."""
    try:
        content = np.frombuffer(read_regular(path), np.uint8)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: set --config.data.data_dir=DIR and unpack {_URL} there") from None
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read ({cause}): check its permissions and the disk") from None
    count, rest = divmod(len(content), RECORD_BYTES)
    if rest or not count:
        raise UsageError(
            f"{path} has {len(content):,} bytes, not a multiple of the {RECORD_BYTES:,} bytes of a record of the "
            f"CIFAR-10 binary version: unpack {_URL} again"
        )
    labels = content[::RECORD_BYTES]
    wrong = np.flatnonzero(labels >= len(CLASSES))
    if len(wrong):
        raise UsageError(
            f"{path} record {wrong[0]} has label {labels[wrong[0]]}, outside 0..{len(CLASSES) - 1}: "
            f"it is damaged or not CIFAR-10's binary version. Unpack {_URL} again"
        )
    return count


def _class_names(folder: Path) -> tuple[str, ...]:
    """Reads the class names from `batches.meta.txt` in the folder of the data; without this file, uses `CLASSES`."""
    file = folder / _NAMES_FILE
    try:
        names = read_regular(file).decode().split()
    except FileNotFoundError:
        return CLASSES
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read ({error}): delete this file, or unpack {_URL} again") from None
    if len(names) != len(CLASSES):
        raise UsageError(
            f"{file} has {len(names)} class names, but CIFAR-10 has {len(CLASSES)}: delete this file, or correct it"
        )
    return tuple(names)
