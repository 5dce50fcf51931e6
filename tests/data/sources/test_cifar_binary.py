import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from tests.data.sources.conftest import CIFAR_NAMES, cifar_record


def open_part(root, *, training=True):
    return open_source("cifar_binary", training=training, data_dir=str(root))


def write(root, *, train=b"", test=b""):
    for number in range(1, 6):
        (root / f"data_batch_{number}.bin").write_bytes(train or cifar_record(number, number))
    (root / "test_batch.bin").write_bytes(test or cifar_record(0, 0))
    return root


def test_splits_and_labels(cifar):
    train, evaluation = (open_part(cifar, training=training) for training in (True, False))
    assert (len(train), train.name, train.class_names) == (20, "cifar_binary/train", CIFAR_NAMES)
    assert (len(evaluation), evaluation.name) == (3, "cifar_binary/test")
    assert [train[index].label for index in range(20)] == [index % 10 for index in range(20)]
    assert train.where(9) == f"{cifar}/data_batch_3.bin record 1"
    with pytest.raises(IndexError):
        train[20]


def test_pixels_are_stored_as_planes(tmp_path):
    planes = np.arange(3 * 32 * 32).reshape(3, 32, 32)
    source = open_part(write(tmp_path, test=b"\x07" + (planes % 251).astype(np.uint8).tobytes()), training=False)
    image, label, boxes = source[0]
    assert (image.shape, image.dtype, image.flags.c_contiguous, label, len(boxes)) == (
        (32, 32, 3),
        np.uint8,
        True,
        7,
        0,
    )
    # Row 2, column 5: value 2 * 32 + 5 of the red plane, and of the green and the blue that follow.
    assert image[2, 5].tolist() == [69, (1024 + 69) % 251, (2048 + 69) % 251]


def test_the_record_in_r1s_own_test(tmp_path):
    # `cifar10_test.py`, test_dataset_input_fn: label 7, all red values 0, green 1, blue 2.
    record = bytes([7]) + b"".join(bytes([value]) * 1024 for value in (0, 1, 2))
    image, label, _ = open_part(write(tmp_path, test=record), training=False)[0]
    assert label == 7 and (image == np.uint8([0, 1, 2])).all()


def test_the_folder_of_the_archive_is_found(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    write(folder)
    for root in (tmp_path, folder):
        assert open_part(root).where(0) == f"{folder}/data_batch_1.bin record 0"


def test_class_names_beside_the_data(tmp_path):
    # The file of the archive ends with an empty line.
    (write(tmp_path) / "batches.meta.txt").write_text("\n".join(reversed(CIFAR_NAMES)) + "\n\n")
    assert open_part(tmp_path).class_names == CIFAR_NAMES[::-1]
    (tmp_path / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(UsageError, match="batches.meta.txt has 2 class names, but CIFAR-10 has 10: delete this file"):
        open_part(tmp_path)
    (tmp_path / "batches.meta.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="batches.meta.txt cannot be read .*: delete this file, or unpack"):
        open_part(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "data_batch_3.bin does not exist: set --config.data.data_dir=DIR and unpack http"),
        (lambda path: path.write_bytes(b"x" * 6145), "data_batch_3.bin has 6,145 bytes, not a multiple of"),
        (
            lambda path: path.write_bytes(b""),
            "data_batch_3.bin has 0 bytes, not a multiple of the 3,0",
        ),
        (
            lambda path: path.write_bytes(cifar_record(9, 0) + cifar_record(10, 0)),
            "data_batch_3.bin record 1 has label 10, outside 0..9: it is damaged or not CIFAR-10's binary version",
        ),
        (lambda path: (path.unlink(), path.mkdir()), r"data_batch_3.bin cannot be read \(Is a directory\): check its"),
    ],
)
def test_what_is_wrong_with_the_files_is_reported(tmp_path, change, message):
    change(write(tmp_path) / "data_batch_3.bin")
    with pytest.raises(UsageError, match=message) as error:
        open_part(tmp_path)
    assert "\n" not in str(error.value)
    assert len(open_part(tmp_path, training=False)) == 1


def test_no_directory():
    with pytest.raises(UsageError, match="source=cifar_binary needs --config.data.data_dir=DIR with DIR/data_batch_1"):
        open_source("cifar_binary", training=True, data_dir=None)


def test_a_file_that_becomes_shorter_has_unreadable_examples(tmp_path):
    path = write(tmp_path, test=cifar_record(1, 1) + cifar_record(2, 2)) / "test_batch.bin"
    source = open_part(tmp_path, training=False)
    path.write_bytes(path.read_bytes()[:-1])
    assert source[0].label == 1
    with pytest.raises(ValueError, match="the file is shorter than when it was opened"):
        source[1]


def test_a_pickled_source_is_small_and_reads_no_file_again(tmp_path):
    source = open_part(write(tmp_path))
    assert source[0].label == 1
    pickled = pickle.dumps(source)
    assert len(pickled) < 2000
    assert np.array_equal(pickle.loads(pickled)[4].image, source[4].image)


def test_reading_needs_neither_tensorflow_nor_jax(cifar):
    program = (
        "import sys; from resnet_jax.data.sources import open_source;"
        f"open_source('cifar_binary', training=True, data_dir={str(cifar)!r})[0];"
        "assert not {'tensorflow', 'tensorflow_datasets', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], env=os.environ, check=True)
