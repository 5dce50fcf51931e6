import gzip
import json
import os
import pickle
import subprocess
import sys
import tarfile

import pytest

from resnet_jax.data import imagenet_classes
from resnet_jax.data.records import tars as tars_module
from resnet_jax.data.sources import open_source
from resnet_jax.data.sources.source import count_shared
from resnet_jax.errors import UsageError
from tests.data.containers import add, write_tar
from tests.data.sources.conftest import SPLITS, colored

SYNSETS = imagenet_classes.synsets()


def open_part(root, *, training=True, **change):
    return open_source("webdataset", training=training, **{**SPLITS, "data_dir": str(root), **change})


def write(root, *labels, split="train", shard=0):
    write_tar(root / f"x-{split}-{shard:04d}.tar", [(f"{k:03d}", colored(k), label) for k, label in enumerate(labels)])
    return root


def test_splits_labels_and_counts(tars):
    train, evaluation = (open_part(tars, training=training) for training in (True, False))
    assert (len(train), train.name, train.class_names) == (21, "webdataset/train", ("0", "1", "2", "3", "4"))
    assert (len(evaluation), evaluation.name, evaluation.class_names) == (6, "webdataset/val", train.class_names)
    assert [train[index].label for index in range(21)] == [index % 5 for index in range(21)]
    assert [train[index].image for index in range(21)] == [colored(index) for index in range(21)]
    assert train.class_counts.tolist() == [5, 4, 4, 4, 4] and evaluation.class_counts.tolist() == [2, 1, 1, 1, 1]
    assert train.where(18) == f"{tars}/flowers-train-000002.tar sample 0018"
    assert train.example_id(18) == "flowers-train-000002.tar 0018"
    with pytest.raises(IndexError):
        train[21]


@pytest.mark.parametrize("text", ["train[5:15]", "train[-4:]", "train[:50%]", "train[17:]+train[:3]"])
def test_slices_count_samples_in_the_order_of_the_tars(tars, text):
    whole, source = open_part(tars), open_part(tars, train_split=text)
    parts = (part.removeprefix("train")[1:-1].replace("50%", "10").split(":") for part in text.split("+"))
    indices = [index for start, stop in parts for index in range(21)[slice(int(start or 0), int(stop or 21))]]
    assert [source.where(index) for index in range(len(source))] == [whole.where(index) for index in indices]
    assert [source[index].label for index in range(len(source))] == [whole[index].label for index in indices]
    assert source.class_counts.sum() == count_shared(source, whole) == len(indices)


@pytest.mark.parametrize(
    "name",
    ["train-0.tar", "imagenet-train-000000.tar", "x_train_0.tar", "TRAIN.tar", "train/a.tar", "train-0-of-1.tar"],
)
def test_names_of_tars(tmp_path, name):
    write_tar(tmp_path / name, [("a", colored(1), 0)])
    assert len(open_part(tmp_path)) == 1
    for other in ("val-0.tar", "pretrain-0.tar", "ILSVRC2012_img_train.tar"):
        write_tar(tmp_path / other, [("a", colored(1), 0), ("b", colored(1), 0)])
    assert len(open_part(tmp_path)) == 1


def test_members_of_a_sample(tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        long = "folder/" * 30 + "ünï"  # does not fit into a header of its own
        add(tar, f"{long}.JPG", b"first")
        add(tar, f"{long}.json", json.dumps({"label": "x", "cls": 1, "caption": "a" * 5000}).encode())
        add(tar, "readme.txt", b"no sample")
        add(tar, "b.cls", b" 0\n")
        add(tar, "b.seg.png", b"second")
        add(tar, "b.txt", b"")
    source = open_part(tmp_path)
    assert [source[index][:2] for index in range(len(source))] == [(b"first", 1), (b"second", 0)]
    assert source.where(0) == f"{tmp_path}/train.tar sample {long}"


def test_the_index_is_built_once_and_again_when_a_tar_changes(tmp_path, monkeypatch):
    walked, members = [], tars_module._members
    monkeypatch.setattr(
        tars_module, "_members", lambda path, descriptor: walked.append(path) or members(path, descriptor)
    )
    write(tmp_path, 0, 1)
    for _ in range(2):
        assert len(open_part(tmp_path)) == 2
    assert len(walked) == 1 and len(list(tmp_path.glob(".x-train.*.tar_index.npz"))) == 1
    write(tmp_path, 0, 1, 1)
    assert len(open_part(tmp_path)) == 3 and len(walked) == 2


def test_class_names_beside_the_tars(tmp_path):
    write(write(tmp_path, 0, 1), 2, split="val")
    with pytest.raises(
        UsageError, match=r"x-val-0000.tar sample 000 has label 2, outside 0..1: correct classnames.txt"
    ):
        open_part(tmp_path, training=False)
    (tmp_path / "classnames.txt").write_text("cat\ndog\nred fox\n")
    assert (
        open_part(tmp_path).class_names == open_part(tmp_path, training=False).class_names == ("cat", "dog", "red fox")
    )
    (tmp_path / "classnames.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(UsageError, match="classnames.txt names class 'cat' twice"):
        open_part(tmp_path)
    (tmp_path / "classnames.txt").write_text(f"{SYNSETS[1]}\n{SYNSETS[0]}\n")
    with pytest.raises(UsageError, match="classnames.txt gives the classes of ImageNet in another order"):
        open_part(tmp_path)


def test_labels_of_imagenet_are_compared_with_file_names(tmp_path):
    samples = [(f"{synset}/{synset}_7", b"x", label) for label, synset in enumerate(SYNSETS)]
    write_tar(tmp_path / "train.tar", samples)
    assert open_part(tmp_path).class_names == SYNSETS
    write_tar(tmp_path / "train.tar", [(key, image, 999 - label) for key, image, label in samples])
    with pytest.raises(
        UsageError, match=r"n01440764_7 has label 999, but its file name says class n01440764, number 0 "
    ):
        open_part(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            None,
            r"has no tars named <name>-train-000000.tar or train/<name>.tar, only x-other-0000.tar: set --config.data.",
        ),
        (b"", "is truncated, damaged, compressed or not a tar"),
        (b"once upon a time" * 100, "is truncated, damaged, compressed or not a tar"),
        ("gzip", "is truncated, damaged, compressed or not a tar .*: copy it again, or unpack"),
        ("cut", r"x-train-0000.tar is truncated, damaged, .*ends inside 001.jpg"),
        ("within padding", r"x-train-0000.tar is truncated, damaged, .*unexpected end of data"),
        ("within a header", r"x-train-0000.tar is truncated, damaged, .*no valid header at byte 2,048"),
        ("between members", r"x-train-0000.tar is truncated, damaged, .*no valid header at byte 2,048"),
    ],
)
def test_what_is_wrong_with_tars_is_reported(tmp_path, content, message):
    write(tmp_path, 0, split="other")
    path = tmp_path / "x-train-0000.tar"
    if content is not None:
        write(tmp_path, 0, 1)
        whole = path.read_bytes()
        cut = whole.index(b"001.jpg") + 550
        header = cut - 550
        changed = {
            "gzip": gzip.compress(whole),
            "cut": whole[:cut],
            "within padding": whole[: header - 10],
            "within a header": whole[: header + 100],
            "between members": whole[:header],
        }
        path.write_bytes(changed[content] if isinstance(content, str) else content)
    with pytest.raises(UsageError, match=message) as caught:
        open_part(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.jpg": b"x"}, "sample a has no label, only jpg: each image needs a member .cls or .json beside it"),
        ({"a.jpg": b"x", "a.cls": b"cat"}, r"sample a has no integer label in its member .cls \(b'cat'\)"),
        ({"a.jpg": b"x", "a.json": b'{"label": true}'}, "sample a has no integer label in its member .json"),
        ({"a.txt": b"x", "b.cls": b"1"}, "the 1 tars of 'train' in .* have no images"),
    ],
)
def test_samples_without_image_or_label(tmp_path, members, message):
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for name, content in members.items():
            add(tar, name, content)
    with pytest.raises(UsageError, match=message):
        open_part(tmp_path)


def test_missing_tars_are_named(tmp_path):
    for shard in (0, 2, 3):
        write(tmp_path, 0, shard=shard)
    with pytest.raises(
        UsageError, match="lacks tars of 'train': x-train-0003.tar is there, but not number 1: copy the"
    ):
        open_part(tmp_path)
    write(tmp_path, 0, shard=1)
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"train": {"num_samples": 5}}}))
    with pytest.raises(
        UsageError, match="the 4 tars of 'train' .* have 4 samples, but 5 according to _info.json: copy"
    ):
        open_part(tmp_path)


def test_a_tar_that_becomes_shorter_has_unreadable_examples(tmp_path):
    source = open_part(write(tmp_path, 0, 1))
    os.truncate(tmp_path / "x-train-0000.tar", 600)
    with pytest.raises(ValueError, match="the tar is shorter than when it was indexed"):
        source[1]


def test_reading_needs_neither_tensorflow_nor_jax(tars):
    options = {**SPLITS, "data_dir": str(tars)}
    program = (
        "import sys; from resnet_jax.data.sources import open_source;"
        f"open_source('webdataset', training=True, **{options})[0];"
        "assert not {'tensorflow', 'jax', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], env=os.environ, check=True)


def test_a_pickled_source_is_small(tars):
    assert len(pickle.dumps(open_part(tars))) < 5000
