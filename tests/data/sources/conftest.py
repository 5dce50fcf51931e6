"""Minimal data for every source."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from array_record.python import array_record_module

from resnet_jax.data.sources import SOURCES, open_source
from tests.data.containers import write_parquet, write_tar
from tests.data.encoded import encode
from tests.data.record_files import serialised, write_tfrecord

SYNTHETIC = {"num_train": 50, "num_eval": 7, "num_classes": 5, "image_size": 6}
SYNTHETIC_JPEG = {"num_train": 50, "num_eval": 7, "num_classes": 5, "image_height": 12, "image_width": 16}
DIGITS = {"name": "digits", "train_split": "train", "eval_split": None, "cache_dir": None}
CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = {"train_split": "train", "eval_split": None}
SPLITS = {"train_split": "train", "eval_split": None}
TFRECORD = {"train_split": "train", "eval_split": None, "label_offset": 1, "num_classes": 5, "cache_dir": None}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Three classes of 5, 6 and 7 training images and 2 evaluation images; file k of class c has the color (c, k)."""
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


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """5 classes, 21 training images in 3 shards and 6 evaluation images in 2; the color encodes the number."""
    root = tmp_path_factory.mktemp("r1")
    for split, of_shard in {"train": (10, 8, 3), "validation": (1, 5)}.items():
        for shard, count in enumerate(of_shard):
            numbers = range(sum(of_shard[:shard]), sum(of_shard[: shard + 1]))
            records = [r1_example(number, 1 + number % 5) for number in numbers]
            assert len(records) == count
            write_tfrecord(root / f"{split}-{shard:05d}-of-{len(of_shard):05d}", records)
    return root


def r1_example(colour, label, **features):
    image = encode(np.full((4, 5, 3), colour, np.uint8), "PNG")
    return serialised({"image/encoded": image, "image/class/label": label, **features})


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """CIFAR-10's binary files, five of 4 training images and one of 3; image k has class k % 10."""
    root = tmp_path_factory.mktemp("cifar")
    for part in range(5):
        records = [cifar_record(number % 10, number) for number in range(4 * part, 4 * part + 4)]
        (root / f"data_batch_{part + 1}.bin").write_bytes(b"".join(records))
    (root / "test_batch.bin").write_bytes(b"".join(cifar_record(number, 100 + number) for number in range(3)))
    return root


def cifar_record(label, seed):
    """Returns a record of the label and an image of random pixels."""
    pixels = np.random.default_rng(seed).integers(256, size=3 * 32 * 32, dtype=np.uint8)
    return bytes([label]) + pixels.tobytes()


@pytest.fixture(scope="session")
def digits(data_dir):
    """The directory of the data set 'digits', prepared as ArrayRecord."""
    open_source("tfds", training=True, **DIGITS, data_dir=data_dir)
    return next(Path(data_dir).glob("digits/*"))


@pytest.fixture(scope="session")
def tfrecord_digits(digits, tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds_tfrecord")
    as_tfrecord(digits, root, {"train": (700, 0, 737), "test": (360,)})
    return str(root)


def as_tfrecord(prepared, root, counts):
    """Writes splits of a data set as TFDS does with TensorFlow, in shards of given lengths; returns the directory."""
    name, version = prepared.parts[-2:]
    twin = root / name / version
    twin.mkdir(parents=True)
    shutil.copy(prepared / "features.json", twin)
    info = json.loads((prepared / "dataset_info.json").read_text())
    info |= {"fileFormat": "tfrecord", "splits": [split for split in info["splits"] if split["name"] in counts]}
    for split in info["splits"]:
        of_shard = counts[split["name"]]
        split["shardLengths"] = [str(count) for count in of_shard]
        reader = array_record_module.ArrayRecordReader(str(next(prepared.glob(f"{name}-{split['name']}.*"))))
        records = reader.read_all()
        for shard, count in enumerate(of_shard):
            path = twin / f"{name}-{split['name']}.tfrecord-{shard:05d}-of-{len(of_shard):05d}"
            write_tfrecord(path, [records.pop(0) for _ in range(count)])
    (twin / "dataset_info.json").write_text(json.dumps(info))
    return twin


@pytest.fixture(scope="session")
def flat(tmp_path_factory):
    """The validation images of `folder` without class folders, in a list of files and class numbers."""
    root = tmp_path_factory.mktemp("flat")
    lines = []
    for split, count in {"train": 6, "val": 2}.items():
        for label, name in enumerate(("aster", "lily", "rose")):
            place = root / split / name if split == "train" else root / split
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = np.full((4, 5, 3), 80 * label + 10 * number + 5 * (split == "val"), np.uint8)
                (place / f"{2 - label}{number}.png").write_bytes(encode(pixels, "PNG"))
                lines += [f"{2 - label}{number}.png {label}"] * (split == "val")
    (root / "val.txt").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="session")
def tars(tmp_path_factory):
    """WebDataset tars of 5 classes, 21 training images in 3 and 6 evaluation images in 2; the color is the number."""
    root = tmp_path_factory.mktemp("tars")
    for split, of_tar in {"train": (10, 8, 3), "val": (1, 5)}.items():
        for shard, count in enumerate(of_tar):
            first = sum(of_tar[:shard])
            samples = [(f"{number:04d}", colored(number), number % 5) for number in range(first, first + count)]
            write_tar(root / f"flowers-{split}-{shard:06d}.tar", samples)
    return root


@pytest.fixture(scope="session")
def parquet(tmp_path_factory):
    """Parquet files of 5 classes, 21 training images in 3 and 6 evaluation images in 2, in row groups of 4 rows."""
    root = tmp_path_factory.mktemp("parquet")
    for split, of_file in {"train": (10, 8, 3), "validation": (1, 5)}.items():
        for shard, count in enumerate(of_file):
            first = sum(of_file[:shard])
            rows = [(f"{number}.png", colored(number), number % 5) for number in range(first, first + count)]
            write_parquet(root / "data" / f"{split}-{shard:05d}-of-{len(of_file):05d}.parquet", rows, classes="abcde")
    return root


def colored(color):
    return encode(np.full((4, 5, 3), color, np.uint8), "PNG")


@pytest.fixture(params=[*SOURCES, "tfds of TFRecord", "folder without class folders"])
def open_part(request, data_dir, tfrecord_digits, folder, flat, shards, cifar, tars, parquet):  # noqa: PLR0917
    options = {
        "cifar_binary": {"data_dir": str(cifar)},
        "folder": {**FOLDER, "data_dir": str(folder)},
        "folder without class folders": {**FOLDER, "data_dir": str(flat)},
        "parquet": {**SPLITS, "data_dir": str(parquet)},
        "synthetic": SYNTHETIC,
        "synthetic_jpeg": SYNTHETIC_JPEG,
        "tfds": {**DIGITS, "data_dir": data_dir},
        "tfds of TFRecord": {**DIGITS, "data_dir": tfrecord_digits},
        "tfrecord": {**TFRECORD, "data_dir": str(shards)},
        "webdataset": {**SPLITS, "data_dir": str(tars), "cache_dir": None},
    }[request.param]
    return lambda *, training: open_source(request.param.split()[0], training=training, **options)
