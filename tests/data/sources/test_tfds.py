import contextlib
import io
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
from tests.data.record_files import write_tfrecord
from tests.data.sources.conftest import DIGITS, as_tfrecord


def test_digits_are_prepared_on_first_use(data_dir):
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
        ({"name": "digits/large"}, "data set 'digits/large' cannot be opened: "),
        ({"name": "digits:9.9.9"}, "data set 'digits:9.9.9' cannot be opened: "),
        ({"name": "a name"}, "data set 'a name' cannot be opened: "),
        ({"train_split": "train[:0%]"}, r"train_split='train\[:0%\]' selects no example of data set 'digits'"),
        ({"data_dir": "gs://bucket"}, "config.data.data_dir=gs://bucket is not a local path"),
        (
            {"train_split": "trian"},
            "^config.data.train_split='trian': data set 'digits' has no such split or slice, its splits are train ",
        ),
        ({"data_dir": f"{__file__}/none"}, "cannot be prepared in .*test_tfds.py/none .*: name a writable directory"),
    ],
)
def test_what_is_missing_is_reported(data_dir, change, message):
    with pytest.raises(UsageError, match=message):
        open_source("tfds", training=True, **{**DIGITS, "data_dir": data_dir, **change})


def test_a_missing_file_of_a_data_set_is_reported(tmp_path):
    open_source("tfds", training=True, **DIGITS, data_dir=str(tmp_path))
    next(tmp_path.glob("digits/*/digits-test*")).unlink()
    with pytest.raises(
        UsageError, match="lacks 1 of 1 files of split 'test', for example .*: copy or prepare it again"
    ):
        open_source("tfds", training=False, **DIGITS, data_dir=str(tmp_path))


@pytest.mark.parametrize("split", ["test", "test[:99%]", "test[50%:]", "test[200:230]+test[:20]", "test[2shard]"])
def test_tfrecord_and_array_record_give_the_same_examples(digits, data_dir, tmp_path, split):
    as_tfrecord(digits, tmp_path, {"test": (100, 0, 150, 110)})
    source = open_source("tfds", training=False, **DIGITS | {"eval_split": split, "data_dir": str(tmp_path)})
    if split == "test[2shard]":  # the formats have different shards
        split = "test[100:250]"
    twin = open_source("tfds", training=False, **DIGITS | {"eval_split": split, "data_dir": data_dir})
    assert len(source) == len(twin) and source.class_names == twin.class_names
    for index in range(len(twin)):
        assert source[index][:2] == twin[index][:2]


def test_a_data_set_without_an_evaluation_split_needs_slices(digits, tmp_path):
    as_tfrecord(digits, tmp_path, {"train": (1437,)})
    message = (
        "^config.data.eval_split is unset, and data set 'digits' has no split validation or test, .* are train: name"
    )
    with pytest.raises(UsageError, match=message):
        open_source("tfds", training=False, **DIGITS, data_dir=str(tmp_path))
    source = open_source("tfds", training=False, **DIGITS | {"eval_split": "train[90%:]", "data_dir": str(tmp_path)})
    assert len(source) == 144


def test_examples_equal_those_of_tfds(data_dir):
    source = open_source("tfds", training=False, **DIGITS, data_dir=data_dir)
    builder = tfds.builder_from_directory(next(Path(data_dir).glob("digits/*")))
    theirs = builder.as_data_source("test", decoders={"image": tfds.decode.SkipDecoding()})
    assert [(example["image"], example["label"]) for example in theirs] == [source[k][:2] for k in range(len(source))]
    assert {source[k].boxes.shape for k in range(len(source))} == {(0, 4)}


def test_where(digits, data_dir, tmp_path):
    path = as_tfrecord(digits, tmp_path, {"test": (100, 260)}) / "digits-test.tfrecord-00001-of-00002"
    options = DIGITS | {"eval_split": "test[50%:]"}
    assert open_source("tfds", training=False, **options, data_dir=str(tmp_path)).where(0) == f"{path} record 80"
    twin = open_source("tfds", training=False, **options, data_dir=data_dir)
    assert twin.where(0) == f"{next(digits.glob('digits-test*'))} record 180"


def test_a_tfrecord_shard_with_another_number_of_records_is_named(digits, tmp_path):
    path = as_tfrecord(digits, tmp_path, {"test": (100, 260)}) / "digits-test.tfrecord-00001-of-00002"
    write_tfrecord(path, [b"one"])
    with pytest.raises(
        UsageError, match=f"{path} holds 1 records, but 260 according to the dataset_info.json beside it: copy"
    ):
        open_source("tfds", training=False, **DIGITS, data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "test.array_record-00000-of-00001 cannot be read .*truncated.*: copy or prepare it"),
        (lambda data: b"", "test.array_record-00000-of-00001 cannot be read .*truncated.*: copy or prepare it again"),
        (
            None,
            "test.array_record-00000-of-00001 holds 1 records, but 360 according to the dataset_info.json beside it: ",
        ),
    ],
)
def test_a_damaged_array_record_file_is_named(digits, data_dir, tmp_path, change, message):
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


@pytest.mark.parametrize("damaged", [0, 200])  # record 0 is in the sample that is checked
def test_a_damaged_array_record_is_an_error_of_that_record_only(digits, data_dir, tmp_path, damaged):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    path = next(tmp_path.glob("digits/*/digits-test*"))
    source = open_source("tfds", training=False, **DIGITS, data_dir=str(tmp_path))
    data, image = path.read_bytes(), source[damaged].image
    assert data.count(image) == 1
    path.write_bytes(data.replace(image, image[:-20] + bytes(20)))
    for _ in range(2):
        with pytest.raises(ValueError, match="hash mismatch"):
            source[damaged]
        assert source[199].label in range(10) and source[201].label in range(10)
        source = open_source("tfds", training=False, **DIGITS, data_dir=str(tmp_path))


class Boxed(tfds.core.GeneratorBasedBuilder):
    """Images with boxes; all of 'unlabelled' and the tenth of 'partly' have no labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "outlines": tfds.features.Sequence(tfds.features.BBoxFeature()),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict({"fingerprint": "1a2b3c4d"}),
        )

    def _split_generators(self, dl_manager):
        labels = {"train": [1] * 3, "unlabelled": [-1] * 3, "partly": [0] * 9 + [-1]}
        return {split: self._generate_examples(of_split) for split, of_split in labels.items()}

    def _generate_examples(self, labels):
        for count, label in enumerate(labels):
            box = tfds.features.BBox(ymin=0.25, xmin=0.0, ymax=1.0, xmax=count / 10)
            # TFDS would encode an array with TensorFlow.
            image = io.BytesIO(encode(np.zeros((2, 2, 3), np.uint8), "PNG"))
            yield count, {"image": image, "label": label, "outlines": [box] * count}


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """The directory of the data set 'boxed', prepared as ArrayRecord."""
    root = tmp_path_factory.mktemp("boxed")
    with contextlib.redirect_stdout(io.StringIO()):
        Boxed(data_dir=root, file_format="array_record").download_and_prepare()
    return root / "boxed" / "1.0.0"


def open_boxed(root, split):
    return open_source("tfds", training=True, **DIGITS | {"name": "boxed", "train_split": split, "data_dir": str(root)})


def test_boxes(boxed):
    train = open_boxed(boxed.parents[1], "train")
    assert train.class_names == ("cat", "dog")
    for index in range(3):
        boxes = train[index].boxes
        assert train[index].label == 1 and boxes.dtype == np.float32 and len(boxes) in (0, 1, 2)
        np.testing.assert_array_equal(boxes, np.full((len(boxes), 4), np.float32([0.25, 0, 1, len(boxes) / 10])))
    assert sum(len(train[index].boxes) for index in range(3)) == 3


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_missing_labels_are_found_before_training(boxed, tmp_path, file_format):
    root = boxed.parents[1]
    if file_format == "tfrecord":
        as_tfrecord(boxed, root := tmp_path, {"train": (3,), "unlabelled": (3,), "partly": (10,)})
    with pytest.raises(UsageError, match=f"boxed-unlabelled.{file_format}.* record 0 has label -1, outside 0..1: "):
        open_boxed(root, "unlabelled")
    for split in ("partly", "partly[5:]", "train+partly[9:]"):
        with pytest.raises(UsageError, match=f"partly.{file_format}.* record 9 has label -1, .* name another split"):
            open_boxed(root, split)
    assert len(open_boxed(root, "partly[:9]+train")) == 12  # records outside the slice do not matter


def test_a_data_set_with_an_invalid_record_can_be_opened(digits, tmp_path):
    twin = as_tfrecord(digits, tmp_path, {"test": (360,)})
    write_tfrecord(twin / "digits-test.tfrecord-00000-of-00001", [b"once upon a time"] * 360)
    source = open_source("tfds", training=False, **DIGITS, data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="the record is not a tf.train.Example"):
        source[0]


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        (None, "boxed:1.0.0/train"),
        ('{"fingerprint": "1a2b3c4d", "archives": []}', r"boxed:1.0.0+1a2b3c4d/train"),
        ('{"fingerprint": 5}', "boxed:1.0.0/train"),
    ],
)
def test_the_order_of_the_records_is_part_of_the_name(boxed, tmp_path, metadata, name):
    shutil.copytree(boxed, copy := tmp_path / "boxed" / "1.0.0")
    (copy / "metadata.json").unlink()
    if metadata is not None:
        (copy / "metadata.json").write_text(metadata)
    assert open_boxed(tmp_path, "train").name == name


def test_truncated_metadata_are_named(boxed, tmp_path):
    shutil.copytree(boxed, copy := tmp_path / "boxed" / "1.0.0")
    (copy / "metadata.json").write_text('{"fingerprint": ')
    with pytest.raises(
        UsageError, match=f"{copy}/metadata.json cannot be read or is damaged: copy it here again, or prepare it again"
    ):
        open_boxed(tmp_path, "train")


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [None, "", "{}", '{"name": "box'])
def test_a_damaged_or_missing_description_is_named(boxed, tmp_path, file, content):
    shutil.copytree(boxed, copy := tmp_path / "boxed" / "1.0.0")
    if content is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text(content)
    what = "is missing" if content is None else "cannot be read or is damaged"
    with pytest.raises(UsageError, match=f"{copy}/{file} {what}: copy it here again, or prepare it again"):
        open_boxed(tmp_path, "train")


@pytest.mark.parametrize("content", [None, '{"name": "dig'])
def test_a_damaged_description_of_a_bundled_data_set_is_named(digits, tmp_path, content):
    shutil.copytree(digits, copy := tmp_path / "digits" / "1.0.0")
    (copy / "dataset_info.json").unlink()
    if content is not None:
        (copy / "dataset_info.json").write_text(content)
    what = "is missing" if content is None else "cannot be read or is damaged"
    with pytest.raises(UsageError, match=f"{copy}/dataset_info.json {what}: copy it here again, or prepare it again"):
        open_source("tfds", training=True, **DIGITS, data_dir=str(tmp_path))


def test_only_the_requested_version_is_checked(boxed, tmp_path):
    for version in ("1.0.0", "2.0.0"):
        shutil.copytree(boxed, tmp_path / "boxed" / version)
    (tmp_path / "boxed" / "2.0.0" / "features.json").unlink()
    options = DIGITS | {"data_dir": str(tmp_path)}
    assert open_source("tfds", training=True, **options | {"name": "boxed:1.0.0"}).name == "boxed:1.0.0+1a2b3c4d/train"
    with pytest.raises(UsageError, match="data set 'boxed:3.0.0' is not prepared in "):
        open_source("tfds", training=True, **options | {"name": "boxed:3.0.0"})


def test_tfds_data_dir_is_used_and_reading_needs_no_tensorflow(tmp_path):
    program = (
        "import sys; from resnet_jax.data.sources import open_source;"
        f"s = open_source('tfds', training=True, data_dir=None, **{DIGITS});"
        "s[0]; assert not {'tensorflow', 'jax'} & set(sys.modules)"
    )
    environment = {"TFDS_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert (tmp_path / "digits").is_dir()


# Runs in a process with TensorFlow: it writes a data set, and reads what the tests write.
WITH_TENSORFLOW = """
import pathlib, sys
import tensorflow as tf
from tests.data.encoded import encode
from tests.data.record_files import write_tfrecord
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
