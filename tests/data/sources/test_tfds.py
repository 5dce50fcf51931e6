import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from tests.data.encoded import encode
from tests.data.records import write_tfrecord
from tests.data.sources.conftest import DIGITS


def test_digits_prepare_themselves(data_dir):
    train, test = (open_source("tfds", training=t, **DIGITS, data_dir=data_dir) for t in (True, False))
    assert (len(train), train.name, len(train.class_names)) == (1437, "digits:1.0.0/train", 10)
    assert (len(test), test.name) == (360, "digits:1.0.0/test")


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


def as_tfrecord(data_dir, root, counts):
    """Writes the test part of digits as TFDS with TensorFlow would, in shards of so many records."""
    source = next(Path(data_dir).glob("digits/*/dataset_info.json"))
    twin = root / "digits" / source.parent.name
    twin.mkdir(parents=True)
    shutil.copy(source.parent / "features.json", twin)
    info = json.loads(source.read_text())
    info |= {"fileFormat": "tfrecord", "splits": [split for split in info["splits"] if split["name"] == "test"]}
    info["splits"][0]["shardLengths"] = [str(count) for count in counts]
    (twin / "dataset_info.json").write_text(json.dumps(info))
    records = array_record_module.ArrayRecordReader(str(next(source.parent.glob("*-test*")))).read_all()
    for shard, count in enumerate(counts):
        part = [records.pop(0) for _ in range(count)]
        write_tfrecord(twin / f"digits-test.tfrecord-{shard:05d}-of-{len(counts):05d}", part)
    return {"training": False, **DIGITS, "data_dir": str(root)}


@pytest.mark.parametrize("split", ["test", "test[:99%]", "test[50%:]", "test[200:230]+test[:20]", "test[2shard]"])
def test_tfrecord_data_equal_their_array_record_twin(data_dir, tmp_path, split):
    options = as_tfrecord(data_dir, tmp_path, (100, 0, 150, 110))
    source = open_source("tfds", **options | {"eval_split": split})
    if split == "test[2shard]":  # the twins' shards differ
        split = "test[100:250]"
    twin = open_source("tfds", **options | {"eval_split": split, "data_dir": data_dir})
    assert len(source) == len(twin) and source.class_names == twin.class_names
    for index in range(len(twin)):
        assert source[index][:2] == twin[index][:2]


def test_examples_are_what_tfds_makes_of_them(data_dir):
    source = open_source("tfds", training=False, **DIGITS, data_dir=data_dir)
    builder = tfds.builder_from_directory(next(Path(data_dir).glob("digits/*")))
    theirs = builder.as_data_source("test", decoders={"image": tfds.decode.SkipDecoding()})
    assert [(example["image"], example["label"]) for example in theirs] == [source[k][:2] for k in range(len(source))]
    assert {source[k].boxes.shape for k in range(len(source))} == {(0, 4)}


def test_where(data_dir, tmp_path):
    options = as_tfrecord(data_dir, tmp_path, (100, 260)) | {"eval_split": "test[50%:]"}
    path = next(tmp_path.glob("digits/*/*00001-of-00002"))
    assert open_source("tfds", **options).where(0) == f"{path} record 80"
    twin = open_source("tfds", **options | {"data_dir": data_dir})
    assert twin.where(0) == f"{next(Path(data_dir).glob('digits/*/digits-test*'))} record 180"


def test_a_tfrecord_shard_with_another_number_of_records_is_named(data_dir, tmp_path):
    options = as_tfrecord(data_dir, tmp_path, (100, 260))
    path = next(tmp_path.glob("digits/*/*00001-of-00002"))
    write_tfrecord(path, [b"one"])
    with pytest.raises(UsageError, match=f"{path} holds 1 records, and 260 by the dataset_info.json beside it: copy"):
        open_source("tfds", **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "test.array_record-00000-of-00001 cannot be read .*truncated.*: copy or prepare it"),
        (lambda data: b"", "test.array_record-00000-of-00001 cannot be read .*truncated.*: copy or prepare it again"),
        (None, "test.array_record-00000-of-00001 holds 1 records, and 360 by the dataset_info.json beside it: copy"),
    ],
)
def test_a_damaged_array_record_file_is_named(data_dir, tmp_path, change, message):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    path = next(tmp_path.glob("digits/*/digits-test*"))
    if change:
        path.write_bytes(change(path.read_bytes()))
    else:
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        writer.write(b"one")
        writer.close()
    with pytest.raises(UsageError, match=message):
        open_source("tfds", training=False, **DIGITS, data_dir=str(tmp_path))


def test_a_damaged_array_record_is_an_error_of_that_record_alone(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    path = next(tmp_path.glob("digits/*/digits-test*"))
    source = open_source("tfds", training=False, **DIGITS, data_dir=str(tmp_path))
    data, image = path.read_bytes(), source[200].image
    assert data.count(image) == 1
    path.write_bytes(data.replace(image, image[:-20] + bytes(20)))
    for _ in range(2):
        with pytest.raises(ValueError, match="hash mismatch"):
            source[200]
        assert source[199].label in range(10) and source[201].label in range(10)


class Boxed(tfds.core.GeneratorBasedBuilder):
    """Images with boxes; in the part 'unlabelled' without labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "outlines": tfds.features.Sequence(tfds.features.BBoxFeature()),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(1), "unlabelled": self._generate_examples(-1)}

    def _generate_examples(self, label):
        for count in range(3):
            box = tfds.features.BBox(ymin=0.25, xmin=0.0, ymax=1.0, xmax=count / 4)
            image = io.BytesIO(encode(np.zeros((2, 2, 3), np.uint8), "PNG"))  # of an array TFDS would ask TensorFlow
            yield count, {"image": image, "label": label, "outlines": [box] * count}


def test_boxes_and_missing_labels(tmp_path):
    with contextlib.redirect_stdout(io.StringIO()):
        Boxed(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    options = DIGITS | {"name": "boxed", "eval_split": "unlabelled", "data_dir": str(tmp_path)}
    train, unlabelled = (open_source("tfds", training=training, **options) for training in (True, False))
    assert train.class_names == ("cat", "dog")
    for index in range(3):
        boxes = train[index].boxes
        assert train[index].label == 1 and boxes.dtype == np.float32 and len(boxes) in (0, 1, 2)
        np.testing.assert_array_equal(boxes, np.full((len(boxes), 4), (0.25, 0, 1, len(boxes) / 4)))
    assert sum(len(train[index].boxes) for index in range(3)) == 3
    with pytest.raises(UsageError, match="boxed-unlabelled.* record 0 has label -1, outside 0..1: .* name another"):
        unlabelled[0]


def test_tfds_data_dir_is_heeded_and_reading_needs_no_tensorflow(tmp_path):
    program = (
        "import sys; from resnet_jax.data.sources import open_source;"
        f"s = open_source('tfds', training=True, data_dir=None, **{DIGITS});"
        "s[0]; assert not {'tensorflow', 'jax'} & set(sys.modules)"
    )
    environment = {"TFDS_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert (tmp_path / "digits").is_dir()


# Runs where TensorFlow is imported: it writes, and reads what the tests write.
WITH_TENSORFLOW = """
import pathlib, sys
import tensorflow as tf
from tests.data.encoded import encode
from tests.data.records import write_tfrecord
import tensorflow_datasets as tfds
import resnet_jax.data.datasets.digits

root = pathlib.Path(sys.argv[1])
records = [bytes([size % 256]) * size for size in (0, 1, 5, 1000, 100_000)]
write_tfrecord(root / "ours", records)
assert list(tf.data.TFRecordDataset(str(root / "ours")).as_numpy_iterator()) == records
tfds.builder("digits", data_dir=root, file_format="tfrecord").download_and_prepare()
"""


@pytest.mark.slow
def test_tensorflow_reads_the_same_and_writes_the_same(data_dir, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", WITH_TENSORFLOW, tmp_path], env=environment, check=True)
    for training in (True, False):
        source, twin = (
            open_source("tfds", training=training, **DIGITS, data_dir=str(place)) for place in (tmp_path, data_dir)
        )
        assert "tfrecord" in source.where(0) and "array_record" in twin.where(0)
        assert [source[index][:2] for index in range(len(source))] == [twin[index][:2] for index in range(len(twin))]
