"""One contract for all sources, then what is particular to each."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.data.images import decode
from resnet_jax.data.sources import SOURCES, open_source
from resnet_jax.errors import UsageError
from tests.data.encoded import encode

SYNTHETIC = {"num_train": 50, "num_eval": 7, "num_classes": 5, "image_size": 6}
DIGITS = {"name": "digits", "train_split": "train", "eval_split": None}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


FOLDER = {"train_split": "train", "eval_split": None}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Three classes with 5, 6 and 7 training images and 2 for evaluation each; file k of class c has colour (c, k)."""
    root = tmp_path_factory.mktemp("flowers")
    for split, counts in {"train": (5, 6, 7), "val": (2, 2, 2)}.items():
        for label, (name, count) in enumerate(zip(("aster", "lily", "Rose"), counts, strict=True)):
            directory = root / split / name
            directory.mkdir(parents=True)
            (directory / "notes.txt").write_text("no image")
            for number in range(count):
                pixels = np.full((4, 5, 3), 80 * label + 10 * number + 5 * (split == "val"), np.uint8)
                (directory / f"{number}.PNG").write_bytes(encode(pixels, "PNG"))
    return root


@pytest.fixture(params=SOURCES)
def open_part(request, data_dir, folder):
    options = {
        "folder": {**FOLDER, "data_dir": str(folder)},
        "synthetic": SYNTHETIC,
        "tfds": {**DIGITS, "data_dir": data_dir},
    }[request.param]
    return lambda *, training: open_source(request.param, training=training, **options)


def pixels(example):
    return decode(example.image) if isinstance(example.image, bytes) else example.image


def same(example, other):
    return example.label == other.label and np.array_equal(pixels(example), pixels(other))


def test_contract(open_part):
    train, evaluation = open_part(training=True), open_part(training=False)
    assert len(train) > len(evaluation) > 0
    assert train.name != evaluation.name
    indices = [len(train) - 1, 0, 3, 3]
    examples = [train[index] for index in indices]  # in any order, more than once
    assert same(examples[2], examples[3])
    assert not same(examples[0], examples[1])
    reopened, unpickled = open_part(training=True), pickle.loads(pickle.dumps(train))
    for index, example in zip(indices, examples, strict=True):
        assert pixels(example).dtype == np.uint8 and pixels(example).shape[2] == 3
        assert isinstance(example.label, int)
        assert same(reopened[index], example)
        assert same(unpickled[index], example)
    labels = {train[index].label for index in range(0, len(train), 7 if len(train) > 100 else 1)}
    assert labels == set(range(train.num_classes))


def test_unknown_source():
    with pytest.raises(UsageError, match="data.source='webdataset' is not one of folder, synthetic, tfds"):
        open_source("webdataset", training=True)


def test_classes_of_a_folder_are_numbered_by_sorted_name(folder):
    train, evaluation = (open_source("folder", training=t, **FOLDER, data_dir=str(folder)) for t in (True, False))
    assert (len(train), len(evaluation), train.num_classes) == (18, 6, 3)
    assert train.name.endswith("/train") and evaluation.name.endswith("/val")
    # 'Rose' sorts before 'aster' and 'lily', as Python and PyTorch sort: capitals first.
    assert [train[index].label for index in range(18)] == [0] * 7 + [1] * 5 + [2] * 6
    assert pixels(train[0])[0, 0, 0] == 160 and pixels(train[8])[0, 0, 0] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_dir": None}, "source=folder needs --config.data.data_dir=DIR with DIR/train/<class>/<image>"),
        ({"train_split": "training"}, "there is no folder .*/training: name its parent with --config.data.data_dir"),
        ({"eval_split": "train/lily"}, "train/lily has no folders of classes"),
        ({"eval_split": "odd"}, "the classes of train and odd differ in Rose, daisy, lily"),
        ({"train_split": "empty", "eval_split": "empty"}, "no image below .*/empty "),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(folder, change, message):
    for path in ("odd/aster", "odd/daisy", "empty/aster"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    with pytest.raises(UsageError, match=message):
        open_source("folder", training=False, **{**FOLDER, "data_dir": str(folder), **change})


def test_digits_prepare_themselves(data_dir):
    train, test = (open_source("tfds", training=t, **DIGITS, data_dir=data_dir) for t in (True, False))
    assert (len(train), train.name, train.num_classes) == (1437, "digits/train", 10)
    assert (len(test), test.name) == (360, "digits/test")


def test_slices_of_splits(data_dir):
    options = DIGITS | {"train_split": "train[:10%]", "eval_split": "train[10%:]", "data_dir": data_dir}
    first, rest = (open_source("tfds", training=t, **options) for t in (True, False))
    assert len(first) + len(rest) == 1437


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "imagenet2012"}, "data set 'imagenet2012' is not prepared in .*data.source=synthetic"),
        ({"name": "no_such_set"}, "data set 'no_such_set' is not prepared in "),
        ({"name": "digits/large"}, "data set 'digits/large' cannot be had: "),
        ({"name": "digits:9.9.9"}, "data set 'digits:9.9.9' cannot be had: "),
        ({"name": "a name"}, "data set 'a name' cannot be had: "),
        ({"train_split": "train[:0%]"}, r"split 'train\[:0%\]' of data set 'digits' selects no example"),
        ({"data_dir": "gs://bucket"}, "config.data.data_dir=gs://bucket is no local path"),
        ({"train_split": "trian"}, "data set 'digits' has no split 'trian', it has: train, test"),
        ({"data_dir": "/proc/none"}, "cannot be prepared in /proc/none .*: name a directory that can be written"),
    ],
)
def test_what_is_missing_is_said(data_dir, change, message):
    with pytest.raises(UsageError, match=message):
        open_source("tfds", training=True, **{**DIGITS, "data_dir": data_dir, **change})


def test_a_missing_file_of_a_data_set_is_said(tmp_path):
    open_source("tfds", training=True, **DIGITS, data_dir=str(tmp_path))
    next(tmp_path.glob("digits/*/digits-test*")).unlink()
    with pytest.raises(UsageError, match="lacks 1 of 1 files of split 'test', .*: prepare it again"):
        open_source("tfds", training=False, **DIGITS, data_dir=str(tmp_path))


def test_tfds_data_dir_is_heeded_and_reading_needs_no_tensorflow(tmp_path):
    program = (
        "import sys; from resnet_jax.data.sources import open_source;"
        "s = open_source('tfds', training=True, name='digits', data_dir=None, train_split='train', eval_split=None);"
        "s[0]; assert not {'tensorflow', 'jax'} & set(sys.modules)"
    )
    environment = {"TFDS_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert (tmp_path / "digits").is_dir()
