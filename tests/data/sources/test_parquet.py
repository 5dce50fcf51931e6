import concurrent.futures
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resnet_jax.data import imagenet_classes
from resnet_jax.data.records import parquet_rows
from resnet_jax.data.sources import open_source
from resnet_jax.data.sources.source import count_shared
from resnet_jax.errors import UsageError
from tests.data.containers import write_parquet
from tests.data.sources.conftest import SPLITS, colored

SYNSETS = imagenet_classes.synsets()


def open_part(root, *, training=True, **change):
    return open_source("parquet", training=training, **{**SPLITS, "data_dir": str(root), **change})


def write(root, *labels, name="train.parquet", **options):
    write_parquet(root / name, [(f"{k}.png", colored(k), label) for k, label in enumerate(labels)], **options)
    return root


def test_splits_labels_and_counts(parquet):
    train, evaluation = (open_part(parquet, training=training) for training in (True, False))
    assert (len(train), train.name, train.class_names) == (21, "parquet/train", tuple("abcde"))
    assert (len(evaluation), evaluation.name, evaluation.class_names) == (6, "parquet/validation", tuple("abcde"))
    assert [(train[k].image, train[k].label) for k in range(21)] == [(colored(k), k % 5) for k in range(21)]
    assert train.class_counts.tolist() == [5, 4, 4, 4, 4]
    assert train.where(18) == f"{parquet}/data/train-00002-of-00003.parquet row 0"
    assert train.example_id(18) == "train-00002-of-00003.parquet 0"
    assert open_part(parquet / "data").where(0) == train.where(0)


@pytest.mark.parametrize("text", ["train[5:15]", "train[-4:]", "train[17:]+train[:3]"])
def test_slices_count_rows_in_the_order_of_the_files(parquet, text):
    whole, source = open_part(parquet), open_part(parquet, train_split=text)
    parts = (part.removeprefix("train")[1:-1].split(":") for part in text.split("+"))
    indices = [index for start, stop in parts for index in range(21)[slice(int(start or 0), int(stop or 21))]]
    assert [(source.where(k), source[k].label) for k in range(len(source))] == [
        (whole.where(k), whole[k].label) for k in indices
    ]
    assert source.class_counts.sum() == count_shared(source, whole) == len(indices)


@pytest.mark.parametrize(
    "name", ["train.parquet", "data/train-00000-of-00001-0a1b.parquet", "default/train/0000.parquet", "train/x.parquet"]
)
def test_names_of_files(tmp_path, name):
    write(tmp_path, 0, 1, name=name)
    write(tmp_path, 0, name="pretrain.parquet")
    assert len(open_part(tmp_path)) == 2


def test_class_names_come_from_the_file_the_card_or_the_labels_of_training(tmp_path):
    write(write(tmp_path, 0, 2, 1), 0, name="test.parquet")
    assert open_part(tmp_path).class_names == open_part(tmp_path, training=False).class_names == ("0", "1", "2")
    names = {"1": "dog", "0": "cat", "2": "red fox", "10": "hen"}
    lines = "".join(f"          '{key}': {name}\n" for key, name in names.items())
    head = "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
    (tmp_path / "README.md").write_text(f"{head}      class_label:\n        names:\n{lines}---\n# Animals\n")
    assert open_part(tmp_path).class_names == ("cat", "dog", "red fox", "hen")
    write(tmp_path, 0, 2, 1, classes="xyz")
    assert open_part(tmp_path).class_names == ("x", "y", "z")
    (tmp_path / "README.md").write_text("no card")
    assert open_part(tmp_path, training=False).class_names == ("x", "y", "z")


def test_labels_of_imagenet_are_compared_with_file_names(tmp_path):
    words = [f"word {label}" for label in range(1000)]
    rows = [(f"{synset}_7_{synset}.JPEG", b"x", label) for label, synset in enumerate(SYNSETS)]
    write_parquet(tmp_path / "train.parquet", rows, classes=words, group=1000)
    assert open_part(tmp_path).class_names == SYNSETS
    write_parquet(tmp_path / "train.parquet", [("a.JPEG", *row[1:]) for row in rows], classes=words, group=1000)
    assert open_part(tmp_path).class_names == tuple(words)
    rows = [(name, image, 999 - label) for name, image, label in rows]
    write_parquet(tmp_path / "train.parquet", rows, classes=words, group=1000)
    with pytest.raises(
        UsageError, match=r"row 0 has label 999, but its file name says class n01440764, number 0 of the"
    ):
        open_part(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"image": ["a.png"], "label": [0]},
            r"no column of images: expected 'image' with .*are image \(string\), label",
        ),
        ({"image": [b"x"], "label": ["cat"]}, "has no column of labels: expected"),
        ({"image": [b"x"], "fine": [0], "coarse": [0]}, "has no column of labels: expected"),
        ({"image": [b"x"], "label": [-1]}, r"row 0 has label -1, outside 0..0: the split may have no labels"),
    ],
)
def test_other_columns_are_refused(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises(UsageError, match=message):
        open_part(tmp_path)


def test_a_column_of_bytes_is_read(tmp_path):
    pq.write_table(pa.table({"img": [b"x", None], "fine_label": [1, 0]}), tmp_path / "train.parquet")
    source = open_part(tmp_path)
    assert source[0][:2] == (b"x", 1)
    with pytest.raises(ValueError, match="the row has no image bytes, only a path: store the images in the file"):
        source[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "data" / "train-00001-of-00003.parquet").unlink(),
            "lacks 1 of the 3 .* number 00001: copy",
        ),
        (
            lambda root: write(root, 0, name="data/train-00000-of-00002.parquet"),
            "holds 'train' in 00002 and in 00003 fil",
        ),
        (
            lambda root: os.truncate(root / "data" / "train-00002-of-00003.parquet", 300),
            "train-00002-of-00003.parquet cannot be read as a Parquet file .*: copy it again",
        ),
        (
            lambda root: [path.rename(path.with_name(f"a{path.name}")) for path in (root / "data").glob("train*")],
            r"has no files train-00000-of-00001.parquet, .*, only atrain-00000-of-00003.parquet, .*: set --config",
        ),
    ],
)
def test_missing_and_damaged_files_are_named(tmp_path, change, message):
    for shard in range(3):
        write(tmp_path, 0, 1, name=f"data/train-{shard:05d}-of-00003.parquet")
    change(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        open_part(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "features",
    [
        {"label": None},
        {"label": "ClassLabel", "image": 3},
        {"picture": {"_type": "Image"}, "class": {"_type": "ClassLabel", "names": ["a"]}},
        {"label": {"_type": "Image"}, "image": {"_type": "ClassLabel"}},
        [],
    ],
)
def test_a_description_of_other_columns_is_left_aside(tmp_path, features):
    path = tmp_path / "train.parquet"
    write_parquet(path, [("a.jpg", colored(1), 1)])
    table = pq.read_table(path).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    source = open_part(tmp_path)
    assert (source[0].image, source[0].label, source.class_names) == (colored(1), 1, ("0", "1"))


def test_files_given_to_another_source_are_recognised(parquet, tars):
    for root, source in ((parquet, "parquet"), (tars, "webdataset")):
        with pytest.raises(
            UsageError, match=f"finds no data set 'imagenet2012': .* holds .*: add --config.data.source={source}"
        ):
            open_source("tfds", training=True, name="imagenet2012", data_dir=str(root))
        with pytest.raises(UsageError, match=f"It holds .*: for such data, set --config.data.source={source}"):
            open_source("folder", training=True, data_dir=str(root))


def large(root, *, group):
    """Writes 64 images of 100 kB; returns the source, and the image of each row."""
    images = [np.random.default_rng(number).bytes(100_000) for number in range(64)]
    write_parquet(root / "train.parquet", [("", image, 0) for image in images], group=group)
    return open_part(root), images


def test_row_groups_are_read_once_by_many_threads_and_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "_CACHE_BYTES", 1_000_000)
    source, images = large(tmp_path, group=4)
    read = []
    groups = source._records._files._groups
    original = groups._read
    monkeypatch.setattr(groups, "_read", lambda path, group: read.append(group) or original(path, group))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda index: source[index].image, range(16))) == images[:16]
        assert sorted(read) == [0, 1, 2, 3]
        indices = np.random.default_rng(0).integers(64, size=200).tolist()
        assert list(pool.map(lambda index: source[index].image, indices)) == [images[index] for index in indices]
    kept = groups._kept.values()
    assert len(kept) == 2 and sum(values.nbytes for values in kept) < 1_000_000


def test_few_large_row_groups_are_read_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "_READING_BYTES", 3_000_000)
    assert large(tmp_path, group=4)[0]._records._files._groups._permits._value == 2
    assert large(tmp_path, group=64)[0]._records._files._groups._permits._value == 1


def test_damaged_row_groups_are_unreadable_examples(tmp_path):
    source, images = large(tmp_path, group=4)
    content = bytearray((tmp_path / "train.parquet").read_bytes())
    start = content.index(images[8][:50])
    content[start - 60 : start] = bytes(60)
    (tmp_path / "train.parquet").write_bytes(content)
    with pytest.raises(ValueError, match="row group 2 is damaged: ") as raised:
        source[8]
    assert "\n" not in str(raised.value)
    assert source[0].image == images[0]


def test_reading_needs_neither_tensorflow_nor_jax(parquet):
    options = {**SPLITS, "data_dir": str(parquet)}
    program = (
        "import sys; from resnet_jax.data.sources import open_source;"
        f"open_source('parquet', training=True, **{options})[0]; assert not {{'tensorflow', 'jax'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], env=os.environ, check=True)


def test_without_pyarrow_the_cure_is_one_line():
    program = (
        "import sys; sys.modules['pyarrow'] = None; from resnet_jax.data.sources import open_source;"
        "from resnet_jax.errors import UsageError\n"
        "try: open_source('parquet', training=True, data_dir='x')\n"
        "except UsageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, check=True, capture_output=True, text=True)
    assert done.stdout == "config.data.source=parquet needs the package pyarrow: pip install -e '.[parquet]'\n"


def test_a_pickled_source_is_small_and_reads_the_same(parquet):
    source = open_part(parquet)
    assert source[3].label == 3 and len(pickle.dumps(source)) < 5000
    assert pickle.loads(pickle.dumps(source))[3].image == source[3].image


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
def test_what_is_no_file_is_one_line(tmp_path, make):
    make(tmp_path / "train-00000-of-00001.parquet")
    with pytest.raises(UsageError, match="train-00000-of-00001.parquet cannot be read as a Parquet file"):
        open_part(tmp_path)
