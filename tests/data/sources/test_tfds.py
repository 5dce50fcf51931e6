import subprocess
import sys

import pytest

from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from tests.data.sources.conftest import DIGITS


def test_digits_prepare_themselves(data_dir):
    train, test = (open_source("tfds", training=t, **DIGITS, data_dir=data_dir) for t in (True, False))
    assert (len(train), train.name, len(train.class_names)) == (1437, "digits/train", 10)
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
