"""A copy of a data set has the same examples in the same order, and an interrupted conversion is continued."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds

from resnet_jax.data.loader import Loader
from resnet_jax.data.restart_markers import has_markers
from resnet_jax.data.sources import Example, open_source
from resnet_jax.data.sources.folder import open_source as open_folder
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare import conversion, shards
from resnet_jax.programs.prepare.conversion import convert_to
from resnet_jax.programs.prepare.shards import make_features
from tests.data.encoded import encode, photo
from tests.programs.prepare.jpegtran import install, known_file

NAME = "converted/restart_markers"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    tool = install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    return tool


@pytest.fixture
def folder(tmp_path, tool):
    """18 JPEG files in three classes and a PNG file for training, 6 for evaluation."""
    root = tmp_path / "folder"
    for number in range(24):
        file = root / ("train" if number < 18 else "val") / ["cat", "dog", "eel"][number % 3] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(known_file(tool, photo(64 + number, 96, number), quality=92))
    (root / "train" / "dog" / "last.png").write_bytes(encode(photo(40, 40), "PNG"))
    return root


@pytest.fixture
def three_shards(monkeypatch):
    monkeypatch.setattr(shards.ShardConfig, "calculate_number_shards", staticmethod(lambda size, count: 3))


def splits(folder):
    return {
        "train": open_folder(training=True, data_dir=str(folder)),
        "validation": open_folder(training=False, data_dir=str(folder)),
    }


def run(folder, out, **changes):
    options = {"resize_short_side": None, "quality": 90, "restart_markers": True, "verify_all": True, "num_threads": 2}
    return convert_to(str(out), lambda: splits(folder), **(options | changes))


def copied(out, name=NAME):
    options = {"name": name, "data_dir": str(out), "train_split": "train", "eval_split": None, "cache_dir": None}
    return {
        "train": open_source("tfds", training=True, **options),
        "validation": open_source("tfds", training=False, **options),
    }


def test_a_copy_has_the_same_examples_and_batches(tmp_path, folder, capsys):
    assert run(folder, tmp_path / "out") == 0
    copies = copied(tmp_path / "out")
    for split, source in splits(folder).items():
        copy = copies[split]
        assert len(copy) == len(source) and copy.class_names == source.class_names == ("cat", "dog", "eel")
        assert [copy[index].label for index in range(len(copy))] == [source[index].label for index in range(len(copy))]
        marked = [has_markers(copy[index].image) for index in range(len(copy))]
        assert marked == [not source.where(index).endswith(".png") for index in range(len(copy))]
        for step in range(3):
            batches = [
                Loader(data, batch_size=8, training=split == "train").batch(step % 2).batch for data in (source, copy)
            ]
            for expected, got in zip(*batches, strict=True):
                np.testing.assert_array_equal(got, expected)
    output = capsys.readouterr().out
    assert "train              19 images, 0.1 MB now, about 0.1 MB then" in output
    assert "writing" in output and "with 2 threads" in output
    assert "without restart markers, 1 of train: it is not a JPEG file" in output
    assert f"--config.data.name={NAME}" in output
    facts = json.loads((tmp_path / "out" / NAME / "6.0.0" / "metadata.json").read_text())
    assert facts["kept"]["train"] == {"not_shrunk": {}, "not_marked": {"it is not a JPEG file": 1}}
    assert (facts["restart_markers"], facts["verified"], facts["examples"]["validation"]) == (True, "all", 6)
    assert run(folder, tmp_path / "out") == 0
    assert "Nothing to do" in capsys.readouterr().out


def test_boxes_and_bytes_are_kept_without_markers(tmp_path):
    class Boxed:
        name, class_names = "boxed", ("a", "b")

        def __len__(self):
            return 5

        def __getitem__(self, index):
            boxes = np.linspace(0, 1, 4 * index, dtype=np.float32).reshape(index, 4)
            return Example(encode(photo(20, 30, index), "JPEG"), index % 2, np.sort(boxes, axis=1))

        def where(self, index):
            return f"example {index}"

    sources = {"train": Boxed(), "validation": Boxed()}
    options = {"resize_short_side": None, "quality": 90, "restart_markers": False, "verify_all": False}
    assert convert_to(str(tmp_path / "out"), lambda: sources, num_threads=3, **options) == 0
    copy = copied(tmp_path / "out", "converted")["train"]
    builder = tfds.builder_from_directory(tmp_path / "out" / "converted" / "6.0.0")
    as_tfds_reads = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    for index in range(5):
        assert copy[index].image == Boxed()[index].image
        np.testing.assert_array_equal(copy[index].boxes, Boxed()[index].boxes)
        record = as_tfds_reads[index]
        assert (record["image"], record["label"]) == (copy[index].image, index % 2)
        np.testing.assert_array_equal(np.reshape(record["bboxes"], (-1, 4)), Boxed()[index].boxes)


@pytest.mark.slow
@pytest.mark.usefixtures("three_shards")
def test_an_interrupted_conversion_is_continued(tmp_path, folder, capsys, monkeypatch):
    run(folder, tmp_path / "straight", num_threads=1)
    made, read, rewritten = [], [], shards.rewritten

    class Requests(StopRequests):
        def __init__(self):
            super().__init__()
            made.append(self)

    def stop_at_the_tenth(source, rewrite, index):
        read.append((len(source), index))
        if len(read) == 10:
            made[0].ask("stop", "SIGTERM")
        return rewritten(source, rewrite, index)

    monkeypatch.setattr(conversion, "StopRequests", Requests)
    monkeypatch.setattr(shards, "rewritten", stop_at_the_tenth)
    out = tmp_path / "out"
    assert run(folder, out, num_threads=1) == 75
    assert "Stopped: 1 of 6 shards are complete. Run the same command again to continue." in capsys.readouterr().out
    with pytest.raises(UsageError, match="is not prepared in"):
        copied(out)
    with pytest.raises(UsageError, match="unfinished copy of other data or with other settings: remove it, or name"):
        run(folder, out, verify_all=False)
    first = next((out / NAME).glob("6.0.0.unfinished/converted-train*00000-of-00003"))
    written = first.stat().st_mtime_ns
    read[:10] = [None] * 10
    assert run(folder, out) == 0
    assert f"continuing {first.parent}; the whole takes about " in capsys.readouterr().out
    assert set(read) - {None} == {(19, index) for index in range(6, 19)} | {(6, index) for index in range(6)}
    assert (out / NAME / "6.0.0" / first.name).stat().st_mtime_ns == written and not first.exists()
    for split, expected in copied(tmp_path / "straight").items():
        assert [copied(out)[split][index][:2] for index in range(len(expected))] == [
            expected[index][:2] for index in range(len(expected))
        ]


@pytest.mark.usefixtures("three_shards")
def test_a_damaged_shard_is_written_again(tmp_path, folder, capsys, monkeypatch):
    finish = conversion._finish
    monkeypatch.setattr(conversion, "_finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(folder, tmp_path)
    first, second, *_ = sorted((tmp_path / NAME).glob("6.0.0.unfinished/converted-train*"))
    first.write_bytes(first.read_bytes()[:-10])
    (second.parent / "progress" / "train-00001.json").write_text("{")
    monkeypatch.setattr(conversion, "_finish", finish)
    assert run(folder, tmp_path) == 0 and len(copied(tmp_path)["train"]) == 19
    assert "19 images" in capsys.readouterr().out
    assert [copied(tmp_path)["train"][index].label for index in (0, 18)] == [0, 2]


def test_data_that_cannot_be_copied(tmp_path, folder):
    class Pixels:
        name, class_names = "pixels", ("a",)

        def __len__(self):
            return 3

        def __getitem__(self, index):
            if self.name == "broken":
                raise OSError("Input/output error")
            return Example(photo(8, 8), 0)

        def where(self, index):
            return f"example {index}"

    def open_pixels():
        return {"train": pixels, "validation": pixels}

    options = {"resize_short_side": None, "quality": 90, "restart_markers": False, "verify_all": False}
    pixels = Pixels()
    with pytest.raises(UsageError, match="pixels holds pixels, not image files: there is nothing to convert"):
        convert_to(str(tmp_path / "out"), open_pixels, num_threads=2, **options)
    pixels.name = "broken"
    with pytest.raises(UsageError, match=r"example 0 cannot be read \(Input/output error\): copy it here again"):
        convert_to(str(tmp_path / "out"), open_pixels, num_threads=2, **options)
    full = SimpleNamespace(free=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: full)
        with pytest.raises(UsageError, match=r"needs 0.0 GB and .* 0.0 GB free: .*prepare.output=DIR"):
            run(folder, tmp_path / "out")


def test_names_of_classes_that_occur_twice():
    names = make_features(("crane", "maillot", "crane"))["label"].names
    assert names == ["crane (0)", "maillot", "crane (2)"]
