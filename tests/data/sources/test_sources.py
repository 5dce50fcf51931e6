"""One contract for all sources, then what is particular to each."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.data.images import decode
from resnet_jax.data.sources import SOURCES, open_source
from resnet_jax.errors import UsageError

SYNTHETIC = {"num_train": 50, "num_eval": 7, "num_classes": 5, "image_size": 6}
DIGITS = {"name": "digits", "train_split": "train", "eval_split": None}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(params=SOURCES)
def open_part(request, data_dir):
    options = {"synthetic": SYNTHETIC, "tfds": {**DIGITS, "data_dir": data_dir}}[request.param]
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
    with pytest.raises(UsageError, match="data.source='webdataset' is not one of synthetic, tfds"):
        open_source("webdataset", training=True)


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
