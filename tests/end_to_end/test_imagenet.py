"""ImageNet from all of its sources: the archives, r1's shards and a folder give the same images."""

import collections
import json

import numpy as np
import pytest

from resnet_jax.data import imagenet_classes
from resnet_jax.data.crops import Central
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources import open_source
from tests.data import ilsvrc
from tests.data.record_files import serialised, write_tfrecord
from tests.end_to_end import processes

SPLITS = {"train_split": "train", "eval_split": None, "cache_dir": None}


@pytest.fixture(scope="module")
def files():
    """Two training images of each of the 1,000 synsets and three odd ones, 50 for validation."""
    return ilsvrc.make_files(num_classes=1000, per_class=2, num_validation=50)


@pytest.fixture(scope="module")
def prepared(files, tmp_path_factory):
    """The data directory that --mode=prepare makes from the archives, whose members are shuffled."""
    root = tmp_path_factory.mktemp("prepared")
    ilsvrc.write(root / "archives", files, seed=0)
    changes = {"prepare.archives": root / "archives", "prepare.allow_partial": True}
    command = processes.command("configs/resnet50.py", root / "run", changes)
    done = processes.subprocess.run(
        [*command, "--mode=prepare"],
        cwd=processes.ROOT,
        env=processes.environment(root / "data"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root / "data"


@pytest.fixture(scope="module")
def shards(files, tmp_path_factory):
    """The training images in the record files of r1."""
    root = tmp_path_factory.mktemp("shards")
    synsets = {name: label for label, name in enumerate(imagenet_classes.synsets(), start=1)}
    records = []
    for name, encoded in files.train.items():
        synset = name.split("_")[0]
        features = {
            "image/encoded": encoded,
            "image/class/label": synsets[synset],
            "image/class/synset": synset.encode(),
        }
        if name == f"{ilsvrc.BOXED}.JPEG":
            columns = np.array(ilsvrc.BOXES).T.tolist()
            features |= dict(
                zip(("image/object/bbox/" + s for s in ("ymin", "xmin", "ymax", "xmax")), columns, strict=True)
            )
        records.append(serialised(features))
    for number in range(4):
        write_tfrecord(root / f"train-{number:05}-of-00004", records[number::4])
    return root


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    """The training images as a folder of class folders."""
    root = tmp_path_factory.mktemp("folder")
    for name, encoded in files.train.items():
        directory = root / "train" / name.split("_")[0]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(encoded)
    return root


@pytest.fixture
def sources(prepared, shards, folder):
    return {
        "tfds": open_source("tfds", training=True, name="imagenet2012", data_dir=str(prepared), **SPLITS),
        "tfrecord": open_source(
            "tfrecord", training=True, data_dir=str(shards), label_offset=1, num_classes=None, **SPLITS
        ),
        "folder": open_source("folder", training=True, data_dir=str(folder), train_split="train", eval_split="train"),
    }


def test_the_same_bytes_labels_and_classes(files, sources):
    expected = collections.Counter(
        (encoded, imagenet_classes.synsets().index(name.split("_")[0])) for name, encoded in files.train.items()
    )
    for source in sources.values():
        examples = [source[index] for index in range(len(source))]
        assert collections.Counter((example.image, example.label) for example in examples) == expected
        assert source.class_names == tuple(imagenet_classes.synsets())


def test_the_same_boxes(files, sources):
    for name in ("tfds", "tfrecord"):
        examples = (sources[name][index] for index in range(len(sources[name])))
        boxed = {example.image: example.boxes for example in examples if len(example.boxes)}
        assert list(boxed) == [files.train[f"{ilsvrc.BOXED}.JPEG"]]
        np.testing.assert_allclose(boxed.popitem()[1], ilsvrc.BOXES, rtol=1e-6)


def test_the_same_pixels_and_one_bad_example(sources):
    seen = []
    for source in sources.values():
        loader = Loader(source, batch_size=len(source), training=False, crops=Central(24, 24 / 27), resize="bilinear")
        batch, unreadable, *_ = loader.batch(0)
        assert unreadable.sum() == 1 and batch.mask.all()
        pixels = zip(batch.label.tolist(), map(bytes, batch.image), strict=True)
        seen.append(collections.Counter(pixels))
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 2003


@pytest.mark.slow
def test_the_main_recipe_trains_on_the_prepared_data_set(files, prepared, sources, tmp_path):
    train = sources["tfds"]
    truncated = next(i for i in range(len(train)) if train[i].image == files.train[ilsvrc.TRUNCATED])
    first = min(max(truncated - 7, 0), len(train) - 16)
    changes = {
        "data.train_split": f"train[{first}:{first + 16}]",
        "data.train_crop.name": "box_guided",
        "data.image_size": 64,
        "model.depth": 18,
        "data.batch_size": 8,
        "model.bn_group_size": 8,
        "train.total_steps": 2,
        "eval.every_steps": 2,
        "log.inputs": False,
        "log.trackers": (),
    }
    done = processes.run("configs/resnet50.py", tmp_path, prepared, changes)
    assert done.returncode == 0, done.stderr
    assert processes.read_result(tmp_path)["eval"]["count"] == 50
    assert json.loads((tmp_path / "classes.json").read_text()) == list(imagenet_classes.synsets())
    (bad,) = map(json.loads, (tmp_path / "bad_examples.jsonl").read_text().splitlines())
    assert bad["index"] == truncated - first and "runcated" in bad["error"]
