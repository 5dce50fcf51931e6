"""--mode=check_data on folders of images, each with one kind of fault."""

import json
import re

import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.sources import Example
from resnet_jax.errors import UsageError
from resnet_jax.programs.check_data import main as program
from resnet_jax.programs.command import Command
from tests.data.encoded import encode, smooth
from tests.data.test_examination import rotated
from tests.tiny import tiny_config

SIZE = {"data.image_size": 12}


def write(root, **changes):
    """Writes two classes of 20 training and 5 evaluation images each; `changes` are files by path, None: remove."""
    seed = 0
    for split, count in {"train": 20, "val": 5}.items():
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                seed += 1
                (root / split / name / f"{number}.png").write_bytes(encode(smooth(16, 18, seed), "PNG"))
    for path, content in changes.items():
        file = root / path.replace("__", "/").replace("_png", ".png")
        file.write_bytes((root / content).read_bytes() if isinstance(content, str) else content)
    return root


def check(root, tmp_path, **changes):
    """Returns the exit status and the content of the JSON file."""
    settings = SIZE | {"data.source": "folder", "data.data_dir": str(root), "data.batch_size": 4}
    status = program.main(Command("check_data", tiny_config(settings | changes), str(tmp_path / "run")))
    return status, json.loads((tmp_path / "run" / "data_check.json").read_text())


def test_good_data(tmp_path, capsys):
    root = write(tmp_path / "data")
    status, found = check(root, tmp_path)
    assert (status, found["problems"], found["notes"]) == (0, [], [])
    train = found["train"]
    assert (train["images"], train["images_of_class"], train["labels"]) == (40, [20, 20], [0, 1])
    assert found["class_names"] == ["cat", "dog"] and found["eval"]["images_of_class"] == [5, 5]
    assert train["height"] == {"smallest": 16, "median": 16, "largest": 16} and train["width"]["median"] == 18
    pixels = np.stack([smooth(16, 18, seed) for seed in range(1, 41)]).reshape(-1, 3)
    np.testing.assert_allclose(train["mean"], pixels.mean(axis=0))
    np.testing.assert_allclose(train["deviation"], pixels.std(axis=0))
    assert train["bytes"] == sum(path.stat().st_size for path in (root / "train").rglob("*.png"))
    printed = capsys.readouterr().out
    assert re.search(r"^images of a class +20 \(cat\) to 20 \(cat\) +5 \(cat\) to 5 \(cat\)$", printed, re.MULTILINE)
    assert "result       nothing was found that would harm training\n" in printed
    assert printed.endswith(f"written      {tmp_path / 'run' / 'data_check.json'}\n")


SMALL = encode(smooth(2, 9), "PNG")
DAMAGED = encode(smooth(16, 18), "JPEG")[:100]
BLANK = encode(np.zeros((16, 18, 3), np.uint8), "PNG")


@pytest.mark.parametrize(
    ("changes", "part", "listed", "sentence"),
    [
        ({"train__cat__0_png": encode(smooth(16, 18), "JPEG", "CMYK")}, "CMYK", "train/cat/0.png", None),
        (
            {"train__dog__3_png": rotated(6)},
            "EXIF-rotated",
            "train/dog/3.png",
            "train: 1 of 40 images with an EXIF orientation",
        ),
        ({"train__dog__3_png": BLANK}, "one color", "train/dog/3.png", "train: 1 of 40 images of one color"),
        ({"train__dog__3_png": SMALL}, "tiny", "train/dog/3.png", "train: 1 of 40 images with a side below 3 pixels"),
        (
            {"train__dog__3_png": DAMAGED},
            "unreadable",
            "train/dog/3.png",
            "train: 1 of 40 images cannot be read; others",
        ),
        (
            {"train__dog__3_png": "train/dog/1.png"},
            "copies",
            "train/dog/3.png",
            "train: 1 of 40 images with the pixels of an",
        ),
        (
            {"train__dog__3_png": "train/cat/1.png"},
            "copies_in_another_class",
            "train/dog/3.png",
            "train: 1 of 40 images with the pixels of one of another class: decide",
        ),
        (
            {"val__dog__3_png": "train/dog/1.png"},
            "also_in_training",
            "val/dog/3.png",
            "eval: 1 of 10 images with the pixels of a training image, so the accuracy would be too high",
        ),
    ],
)
def test_faults_are_listed_and_judged_by_their_share(tmp_path, capsys, changes, part, listed, sentence):
    root = write(tmp_path / "data", **changes)
    status, found = check(root, tmp_path)
    places = found | found["train"] | found["train"]["unusual"]
    assert places[part]["count"] == 1 and str(root / listed) in json.dumps(places[part])
    printed = capsys.readouterr().out
    assert status == (2 if sentence and part != "copies" else 0)
    if sentence:
        assert any(text.startswith(sentence) for text in found["problems" if status else "notes"])
        assert ("problem      " if status else "note         ") + sentence[:20] in printed


def test_few_faults_of_many_images_are_notes(tmp_path):
    root = write(tmp_path / "data", train__dog__3_png=BLANK)
    for number in range(20, 120):
        (root / "train" / "cat" / f"{number}.png").write_bytes(encode(smooth(16, 18, 100 + number), "PNG"))
    status, found = check(root, tmp_path)
    assert status == 0 and found["notes"] == ["train: 1 of 140 images of one color: remove them"]


def test_more_unreadable_images_than_a_run_tolerates(tmp_path):
    changes = {f"train__dog__{number}_png": DAMAGED for number in range(3)}
    status, found = check(write(tmp_path / "data", **changes), tmp_path, **{"data.max_bad_examples": 2})
    assert status == 2 and found["problems"][0].startswith(
        "train: 3 of 40 images cannot be read, more than config.data.max_bad_examples=2, so that a run would stop"
    )
    assert "runcated" in found["train"]["unreadable"]["images"][0]["error"]


class Labeled:
    """A source of random pixels whose labels are given; a label above 1 is refused as by the source 'tfds'."""

    def __init__(self, labels, class_names=("cat", "dog")):
        self.name, self.class_names, self._labels = "labeled", class_names, labels

    def __len__(self):
        return len(self._labels)

    def __getitem__(self, index):
        if self._labels[index] > 1:
            raise UsageError(f"{self.where(index)} has label {self._labels[index]}, outside 0..1: correct it")
        pixels = np.random.default_rng(id(self) + index).integers(256, size=(16, 16, 3), dtype=np.uint8)
        return Example(pixels, self._labels[index])

    def where(self, index):
        return f"labeled {index}"


@pytest.mark.parametrize(
    ("train", "evaluation", "sentence"),
    [
        (Labeled([0, 1, 7]), Labeled([0, 1]), "train: 1 labels are out of range, for example: labeled 2 has label 7"),
        (Labeled([0, 0, 0]), Labeled([0, 1]), "train: no image of 1 of 2 classes (dog): add images, or remove the"),
        (
            Labeled([0, 1]),
            Labeled([0, 1], ("cat", "cow")),
            "labeled has another list of classes than labeled (class 1 is",
        ),
        (Labeled([0, 0], ("cat",)), Labeled([0], ("cat",)), "train: there is a single class, so there is nothing to"),
    ],
)
def test_labels_and_classes(tmp_path, monkeypatch, train, evaluation, sentence):
    opened = {True: train, False: evaluation}
    monkeypatch.setattr(experiment.checked_data, "open_from", lambda config, training, cache_dir: opened[training])
    status, found = check(tmp_path, tmp_path)
    assert status == 2 and [text for text in found["problems"] if text.startswith(sentence)]


def test_missing_data_leave_nothing_behind(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        check(tmp_path / "none", tmp_path)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="config.check_data.json='.*none/x.json' cannot be written"):
        check(write(tmp_path / "data"), tmp_path, **{"check_data.json": str(tmp_path / "none" / "x.json")})
