import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax.data.sources import open_source
from resnet_jax.data.sources.source import count_shared
from resnet_jax.errors import UsageError
from tests.data.record_files import write_tfrecord
from tests.data.sources.conftest import TFRECORD, r1_example

SIDES = ("ymin", "xmin", "ymax", "xmax")


def open_part(root, *, training=True, **change):
    return open_source("tfrecord", training=training, **{**TFRECORD, "data_dir": str(root), **change})


def write(root, *records, split="train"):
    """Three shards: the first record; none, as happens with more shards than records; the remaining records."""
    for shard, of_shard in enumerate([records[:1], [], records[1:]]):
        write_tfrecord(root / f"{split}-{shard:05d}-of-00003", of_shard)
    return root


def test_splits_and_labels(shards):
    train, evaluation = (open_part(shards, training=training) for training in (True, False))
    assert (len(train), train.name, train.class_names) == (21, "tfrecord/train", ("0", "1", "2", "3", "4"))
    assert (len(evaluation), evaluation.name) == (6, "tfrecord/validation")
    assert [train[index].label for index in range(21)] == [index % 5 for index in range(21)]
    assert train.where(18) == f"{shards}/train-00002-of-00003 record 0"
    assert [train[index].boxes.shape for index in range(21)] == [(0, 4)] * 21


def test_the_evaluation_split_is_the_first_that_exists(tmp_path):
    for split in ("val", "test", "validation"):
        write(tmp_path, r1_example(0, 1), split=split)
        assert open_part(tmp_path, training=False).name == f"tfrecord/{split}"
    assert open_part(tmp_path, training=False, eval_split="val").name == "tfrecord/val"


@pytest.mark.parametrize("text", ["train[5:15]", "train[-4:]", "train[:50%]", "train[10:11]", "train[17:]+train[:3]"])
def test_slices_count_records_in_the_order_of_the_shards(shards, text):
    whole, source = open_part(shards), open_part(shards, train_split=text)
    parts = (part.removeprefix("train")[1:-1].replace("50%", "10").split(":") for part in text.split("+"))
    indices = [index for start, stop in parts for index in range(21)[slice(int(start or 0), int(stop or 21))]]
    assert source.name == f"tfrecord/{text}" and len(source) == len(indices) > 0
    assert [source.where(index) for index in range(len(source))] == [whole.where(index) for index in indices]
    assert count_shared(source, whole) == len(source) and count_shared(source, open_part(shards, training=False)) == 0


def test_an_unset_evaluation_split_without_shards_is_reported(tmp_path):
    message = "^config.data.eval_split='validation': .* only of train: name one of these with --config.data.eval_split="
    with pytest.raises(UsageError, match=message):
        open_part(write(tmp_path, r1_example(0, 1)), training=False)


def test_boxes(tmp_path):
    corners = {"ymin": [0.0, 0.1], "xmin": [0.2, 0.3], "ymax": [0.5, 1.0], "xmax": [0.6, 0.7]}
    features = {f"image/object/bbox/{side}": values for side, values in corners.items()}
    empty = {f"image/object/bbox/{side}": [] for side in SIDES}
    uneven = features | {"image/object/bbox/xmax": [0.6]}
    source = open_part(write(tmp_path, *(r1_example(0, 1, **boxes) for boxes in (features, empty, uneven))))
    np.testing.assert_array_equal(source[0].boxes, np.float32([[0.0, 0.2, 0.5, 0.6], [0.1, 0.3, 1.0, 0.7]]))
    assert source[0].boxes.dtype == np.float32 and source[1].boxes.shape == (0, 4)
    with pytest.raises(ValueError, match="array"):
        source[2]


def test_the_classes_of_imagenet(tmp_path):
    # The first and the last synset of ILSVRC2012: 'tench' and 'toilet tissue'.
    first, last = {"image/class/synset": b"n01440764"}, {"image/class/synset": b"n15075141"}
    write(tmp_path, r1_example(0, 1, **first), r1_example(0, 1000, **last))
    source = open_part(tmp_path, num_classes=None)
    assert len(source.class_names) == 1000 and list(source.class_names) == sorted(source.class_names)
    assert source.class_names == open_part(tmp_path, num_classes=1000).class_names
    assert [source[index].label for index in (0, 1)] == [0, 999]
    with_background = open_part(tmp_path, label_offset=0, num_classes=None)
    assert with_background.class_names == ("background", *source.class_names)
    assert [with_background[index].label for index in (0, 1)] == [1, 1000]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"label_offset": 1, "num_classes": 1001},
            "record 0 has WordNet ID n01440764, but its label 1 stands for background: set",
        ),
        (
            {"label_offset": 0, "num_classes": 1000},
            "record 0 has WordNet ID n01440764, but its label 1 stands for n01443537: set",
        ),
        ({"label_offset": 2}, r"-00000-of-00003 record 0 has label 1, outside 2..6: set --config.data.label_offset"),
        ({"label_offset": 0}, r"-00002-of-00003 record 0 has label 5, outside 0..4: set --config.data.label_offset"),
    ],
)
def test_wrong_labels_are_found_before_training(tmp_path, options, message):
    write(tmp_path, r1_example(0, 1, **{"image/class/synset": b"n01440764"}), r1_example(0, 5))
    assert len(open_part(tmp_path)) == 2
    with pytest.raises(UsageError, match=message):
        open_part(tmp_path, **options)


def test_a_wrong_label_outside_the_sample_is_not_a_bad_example(tmp_path):
    labels = [1] * 1000
    source = open_part(write(tmp_path, *(r1_example(0, label) for label in labels)))
    source._label_offset = 2
    with pytest.raises(UsageError, match=r"-00002-of-00003 record 6 has label 1, outside 2..6: "):
        source[7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_dir": None}, "source=tfrecord needs --config.data.data_dir=DIR with DIR/train-00000-of-01024"),
        (
            {"train_split": "training"},
            "^config.data.train_split='training': .* has no shards named training-00000-of-.*only of bare, cut, ",
        ),
        ({"train_split": "holes"}, "lacks 2 of the 4 shards of 'holes', for example holes-00001-of-00004: copy the"),
        ({"train_split": "twice"}, "holds 'twice' in 00001 and in 00002 shards: remove all but one of these sets"),
        ({"train_split": "empty"}, "the 1 shards of 'empty' in .* are empty"),
        (
            {"train_split": "text"},
            "text-00000-of-00001 record 0 is not a labeled image in the format of TensorFlow's r1 ResNet .*Example",
        ),
        (
            {"train_split": "bare"},
            "bare-00000-of-00001 record 0 is not a labeled image .*'image/class/label' is not one int",
        ),
        ({"train_split": "cut"}, "cut-00000-of-00001 is truncated: it ends within record 0"),
    ],
)
def test_what_is_wrong_with_shards_is_reported(tmp_path, change, message):
    good = r1_example(0, 1)
    for name in ("holes-00000-of-00004", "holes-00003-of-00004", "twice-00000-of-00001", "twice-00000-of-00002"):
        write_tfrecord(tmp_path / name, [good])
    write_tfrecord(tmp_path / "empty-00000-of-00001", [])
    write_tfrecord(tmp_path / "text-00000-of-00001", [b"once upon a time"])
    write_tfrecord(tmp_path / "bare-00000-of-00001", [good.replace(b"image/class/label", b"image/class/level")])
    write_tfrecord(tmp_path / "cut-00000-of-00001", [good])
    (tmp_path / "cut-00000-of-00001").write_bytes((tmp_path / "cut-00000-of-00001").read_bytes()[:-5])
    with pytest.raises(UsageError, match=message):
        open_part(tmp_path, **change)


def test_reading_needs_no_tensorflow(shards):
    options = {**TFRECORD, "data_dir": str(shards)}
    program = (
        "import sys; from resnet_jax.data.sources import open_source;"
        f"open_source('tfrecord', training=True, **{options})[0]; assert not {{'tensorflow', 'jax'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], env=os.environ, check=True)


def test_a_pickled_source_is_small(shards):
    assert len(pickle.dumps(open_part(shards))) < 3000
