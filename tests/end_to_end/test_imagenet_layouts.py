"""ImageNet as Kaggle, torchvision, Hugging Face and WebDataset have it: the images and labels of --mode=prepare."""

import collections
import functools

import pytest

from resnet_jax import experiment
from resnet_jax.configs import resnet50
from resnet_jax.data import imagenet_classes
from resnet_jax.data.sources import open_source
from resnet_jax.experiment.inputs import open_from
from resnet_jax.programs.prepare.conversion import convert_to
from tests.data import ilsvrc
from tests.data.containers import write_parquet, write_tar
from tests.data.sources.test_flat_folder import make_devkit
from tests.end_to_end import processes

SYNSETS, VALIDATION = imagenet_classes.synsets(), imagenet_classes.validation_synsets()
TINY = {"data.image_size": 32, "data.batch_size": 8, "model.depth": 18, "model.features": 4, "model.bn_group_size": 8}
SHORT = {"train.total_steps": 2, "eval.every_steps": 2, "log.inputs": False, "log.trackers": "()"}


def labeled(files):
    """Yields (split, name, image, label) of all images."""
    for name, encoded in files.train.items():
        yield "train", name, encoded, imagenet_classes.labels()[name.split("_")[0]]
    for number, (name, encoded) in enumerate(files.validation.items()):
        yield "val", name, encoded, imagenet_classes.labels()[VALIDATION[number]]


def write_folders(root, files, *, val):
    """Writes train/<class>/<image>, and the validation images into `val` without class folders."""
    for split, name, encoded, label in labeled(files):
        folder = root / "train" / SYNSETS[label] if split == "train" else root / val
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded)


def write_kaggle(root, files):
    write_folders(root / "ILSVRC" / "Data" / "CLS-LOC", files, val="val")
    rows = [f"{name[:-5]},{SYNSETS[label]} 1 2 3 4 " for split, name, _, label in labeled(files) if split == "val"]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    (root / "LOC_synset_mapping.txt").write_text("".join(f"{name} some words, or others\n" for name in SYNSETS))


def write_flat(root, files):
    write_folders(root, files, val="val")
    rows = [f"val/{name} {label}" for split, name, _, label in labeled(files) if split == "val"]
    (root / "val.txt").write_text("\n".join(rows))


def write_torchvision(root, files):
    write_folders(root, files, val="val")
    numbers = {synset: number for number, synset in enumerate(reversed(SYNSETS), start=1)}
    make_devkit(root / "ILSVRC2012_devkit_t12" / "data", numbers)


def write_hugging_face(root, files):
    """Writes Parquet files with words for class names, and with file names to which the class is added."""
    for split, rows in by_split(files, train="train", val="validation"):
        named = [(f"{name[:-5]}_{SYNSETS[label]}.JPEG", encoded, label) for name, encoded, label in rows]
        for shard in range(3):
            path = root / "data" / f"{split}-{shard:05d}-of-00003.parquet"
            write_parquet(path, named[shard::3], classes=[f"word {label}" for label in range(1000)], group=100)


def write_webdataset(root, files):
    for split, rows in by_split(files, train="imagenet1k-train", val="imagenet1k-validation"):
        for shard in range(3):
            samples = [(name[:-5], encoded, label) for name, encoded, label in rows[shard::3]]
            write_tar(root / f"{split}-{shard:04d}.tar", samples, ending=["cls", "json"][shard % 2])


def by_split(files, **names):
    for split, written in names.items():
        yield written, [row[1:] for row in labeled(files) if row[0] == split]


LAYOUTS = {
    "kaggle": ("folder", write_kaggle),
    "flat": ("folder", write_flat),
    "torchvision": ("folder", write_torchvision),
    "hugging_face": ("parquet", write_hugging_face),
    "webdataset": ("webdataset", write_webdataset),
}


@pytest.fixture(scope="module")
def files():
    """A training image of each of the 1,000 classes and three odd ones, 50 for validation."""
    return ilsvrc.make_files(num_classes=1000, per_class=1, num_validation=50)


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request, files, tmp_path_factory):
    """Returns the source and the directory of a layout."""
    source, write = LAYOUTS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    write(root, files)
    return source, root


@pytest.fixture(scope="module")
def prepared(files, tmp_path_factory):
    """The data directory that --mode=prepare makes from the archives."""
    root = tmp_path_factory.mktemp("prepared")
    ilsvrc.write(root / "archives", files, seed=0)
    changes = {"prepare.archives": root / "archives", "prepare.allow_partial": True, "data.data_dir": root / "data"}
    command = [*processes.command("configs/resnet50.py", root / "run", changes), "--mode=prepare"]
    environment = processes.environment(root / "data")
    done = processes.subprocess.run(
        command, cwd=processes.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return root / "data"


def config(source, root, changes):
    made = resnet50.get_config()
    made.update_from_flattened_dict({"data.source": source, "data.data_dir": str(root), **changes})
    return made


def content(source):
    return collections.Counter(
        (example.image, example.label) for example in map(source.__getitem__, range(len(source)))
    )


@pytest.mark.parametrize("training", [True, False])
def test_images_labels_and_classes_are_those_of_the_archives(layout, files, training):
    source, root = layout
    found = open_from(config(source, root, {}), training=training, cache_dir=None)
    split = "train" if training else "val"
    assert found.class_names == SYNSETS
    assert content(found) == collections.Counter(row[2:] for row in labeled(files) if row[0] == split)


def test_the_main_recipe_is_built_on_it(layout):
    """Builds the run that the slow test trains, and makes a batch of it, without compiling."""
    built = experiment.build(config(*layout, TINY))
    assert built.data.train_loader.batch(0).batch.image.shape == (8, 32, 32, 3)
    assert built.data.class_names == SYNSETS and built.data.eval_loader.num_batches == 7


def pixels(built):
    """Returns all evaluation images with their labels, cropped and resized for the network."""
    loader = built.data.eval_loader
    batches = [loader.batch(step).batch for step in range(loader.num_batches)]
    return collections.Counter(
        (int(label), bytes(image))
        for batch in batches
        for label, image, used in zip(batch.label, batch.image, batch.mask, strict=True)
        if used
    )


def check_copy(out, files):
    """Checks that the data set in `out` has the images, labels and classes of the archives."""
    for split, training in (("train", True), ("val", False)):
        copy = open_source("tfds", training=training, name="imagenet2012", data_dir=str(out))
        assert copy.class_names == SYNSETS
        assert content(copy) == collections.Counter(row[2:] for row in labeled(files) if row[0] == split)


def test_a_copy_has_the_images_and_labels_of_the_archives(layout, files, tmp_path):
    splits = functools.partial(experiment.open_splits, config(*layout, {}), cache_dir=tmp_path / "cache")
    plain = {"resize_short_side": None, "quality": 90, "restart_markers": False, "verify_all": False}
    assert convert_to(str(tmp_path / "out"), splits, num_threads=2, **plain) == 0
    check_copy(tmp_path / "out", files)


@pytest.mark.slow
def test_mode_prepare_copies_it_to_the_same_pixels(layout, files, tmp_path):
    source, root = layout
    changes = {"data.source": source, "data.data_dir": root, "prepare.output": tmp_path / "out"}
    command = [*processes.command("configs/resnet50.py", tmp_path / "run", changes), "--mode=prepare"]
    done = processes.subprocess.run(command, cwd=processes.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check_copy(tmp_path / "out", files)
    copied, original = (
        pixels(experiment.build(config(*one, TINY))) for one in (("tfds", tmp_path / "out"), (source, root))
    )
    assert copied == original and copied.total() == 50


@pytest.mark.slow
def test_pixels_and_labels_are_those_of_the_prepared_data_set(layout, prepared):
    source, root = layout
    for training in (True, False):
        found = open_from(config(source, root, {}), training=training, cache_dir=None)
        expected = open_source("tfds", training=training, name="imagenet2012", data_dir=str(prepared))
        assert content(found) == content(expected) and found.class_names == expected.class_names
    found = pixels(experiment.build(config(source, root, TINY)))
    assert found == pixels(experiment.build(config("tfds", prepared, TINY))) and found.total() == 50


@pytest.mark.slow
def test_the_main_recipe_trains_on_it(layout, tmp_path):
    source, root = layout
    changes = TINY | SHORT | {"data.source": source, "data.data_dir": root}
    done = processes.run("configs/resnet50.py", tmp_path, root, changes)
    assert done.returncode == 0, done.stderr
    assert processes.read_result(tmp_path)["eval"]["count"] == 50
