"""--mode=prepare makes the data set from the archives completely, or leaves nothing."""

import errno
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds

from resnet_jax.data.decode import decode
from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare import completeness
from resnet_jax.programs.prepare.prepare import prepare
from resnet_jax.programs.prepare.target import Target, lock
from tests.data import ilsvrc
from tests.end_to_end import processes

OPTIONS = {"resize_short_side": None, "quality": 90, "shuffle": True, "num_threads": 2}
FILES = ilsvrc.make_files(num_classes=6, per_class=4, num_validation=20)


@pytest.fixture
def tars(tmp_path):
    ilsvrc.write(tmp_path / "tars", FILES, seed=5)
    return tmp_path / "tars"


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def run(tars, data, *, allow_partial=True, **changes):
    options = OPTIONS | changes
    return prepare(archives=str(tars), data_dir=str(data), allow_partial=allow_partial, **options)


def records(data, split, name="imagenet2012"):
    """Returns the examples as TFDS reads them, with undecoded images, by file name."""
    builder = tfds.core.read_only_builder.builder_from_files(name, data_dir=data)
    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    found = (source[index] for index in range(len(source)))
    return {record["file_name"].decode(): record for record in found}


def options(data, name="imagenet2012"):
    return {"name": name, "data_dir": str(data), "train_split": "train", "eval_split": None, "cache_dir": None}


def test_every_image_comes_back_with_its_label_and_boxes(tars, data, capsys):
    assert run(tars, data) == 0
    for split, files in {"train": FILES.train, "validation": FILES.validation}.items():
        found = records(data, split)
        assert {name: record["image"] for name, record in found.items()} == files
        source = open_source("tfds", training=split == "train", **options(data))
        images = {bytes(example.image): example for example in (source[index] for index in range(len(source)))}
        for name, encoded in files.items():
            assert images[encoded].label == found[name]["label"]
            if split == "train":
                assert source.class_names[images[encoded].label] == name.split("_")[0]
                expected = ilsvrc.BOXES if name == f"{ilsvrc.BOXED}.JPEG" else np.zeros((0, 4))
                np.testing.assert_allclose(images[encoded].boxes, expected, rtol=1e-7)
                np.testing.assert_allclose(np.reshape(found[name]["bboxes"], (-1, 4)), expected, rtol=1e-7)
    order = list(records(data, "train"))
    assert order != sorted(order)
    facts = json.loads((data / "imagenet2012/6.0.0/metadata.json").read_text())
    assert facts["whole"] is False and facts["images"] == {"train": 27, "validation": 20}
    assert facts["images_with_boxes"] == {"train": 1, "validation": 0}
    assert [archive["name"] for archive in facts["archives"]] == [
        "ILSVRC2012_img_train.tar",
        "ILSVRC2012_img_val.tar",
        "ILSVRC2012_bbox_train_v2.tar.gz",
    ]
    odd = "ILSVRC2012_bbox_train_v2.tar.gz holds boxes of 2 images instead of 544,546"
    assert facts["warnings"] == [odd]
    output = capsys.readouterr().out
    assert f"\nnote: {odd}\n" in output
    assert f"train with: python main.py --config=configs/resnet50.py --config.data.data_dir={data}\n" in output


def fingerprint(data, name="imagenet2012"):
    return tfds.core.read_only_builder.builder_from_files(name, data_dir=data).info.metadata["fingerprint"]


@pytest.mark.parametrize("resize_short_side", [None, 16])
def test_repacked_archives_give_the_same_data_set(tmp_path, resize_short_side):
    name = "imagenet2012" if resize_short_side is None else "imagenet2012/short16_q90"
    stored, files = [], []
    for seed in (1, 2):
        ilsvrc.write(tmp_path / f"tars{seed}", FILES, seed=seed)
        run(tmp_path / f"tars{seed}", tmp_path / f"data{seed}", resize_short_side=resize_short_side)
        shards = sorted((tmp_path / f"data{seed}" / name).glob("6.0.0/*.array_record*"))
        stored.append([list(records(tmp_path / f"data{seed}", split, name)) for split in ("train", "validation")])
        files.append({shard.name: shard.read_bytes() for shard in shards})
    assert stored[0] == stored[1] and files[0] == files[1]
    boxes = np.array(ilsvrc.BOXES, np.float32).tobytes()
    lines = ["train", *stored[0][0], "validation", *stored[0][1]]
    content = b"".join(f"{line}\n".encode() + (boxes if line.startswith(ilsvrc.BOXED) else b"") for line in lines)
    expected = hashlib.sha256(content).hexdigest()[:8]
    assert fingerprint(tmp_path / "data1", name) == fingerprint(tmp_path / "data2", name) == expected


def test_the_order_of_the_archives_is_kept_on_request_and_tells_data_sets_apart(tmp_path, tars):
    ilsvrc.write(tmp_path / "others", FILES, seed=6)
    for source, data in {tars: tmp_path / "a", tmp_path / "others": tmp_path / "b"}.items():
        run(source, data, shuffle=False)
        with tarfile.open(source / "ILSVRC2012_img_val.tar") as tar:
            assert list(records(data, "validation")) == tar.getnames()
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


def test_a_data_set_without_boxes_is_recorded_as_such(tmp_path, tars):
    ilsvrc.write(tmp_path / "bare", FILES, seed=5, boxes=False)
    for source, data in {tars: tmp_path / "a", tmp_path / "bare": tmp_path / "b"}.items():
        run(source, data)
    assert list(records(tmp_path / "a", "train")) == list(records(tmp_path / "b", "train"))
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


@pytest.mark.filterwarnings("ignore")  # TFDS warns about a second builder of the same name
def test_resized_variants_have_names_and_directories_of_their_own(tars, data, capsys):
    own = data / "imagenet2012" / "5.1.0"  # the directory that TFDS itself makes
    assert run(tars, data, resize_short_side=16) == 0
    assert "--config.data.name=imagenet2012/short16_q90\n" in capsys.readouterr().out
    with pytest.raises(UsageError, match="data set 'imagenet2012' is not prepared"):
        open_source("tfds", training=True, **options(data))
    assert run(tars, data) == 0
    own.mkdir()
    for file in (data / "imagenet2012" / "6.0.0").iterdir():
        (own / file.name).write_text(file.read_text().replace("6.0.0", "5.1.0")) if file.suffix == ".json" else (
            (own / file.name).write_bytes(file.read_bytes())
        )
    shrunk = records(data, "train", "imagenet2012/short16_q90")
    assert shrunk.pop(ilsvrc.TRUNCATED)["image"] == FILES.train[ilsvrc.TRUNCATED]
    assert {decode(record["image"]).shape for record in shrunk.values()} == {(16, 20, 3)}
    facts = json.loads((data / "imagenet2012/short16_q90/6.0.0/metadata.json").read_text())
    assert (facts["resize_short_side"], facts["quality"]) == (16, 90)
    assert facts["not_resized"] == {"train": [ilsvrc.TRUNCATED], "validation": []}
    find = tfds.core.read_only_builder.builder_from_files
    assert str(find("imagenet2012", data_dir=data).version) == "6.0.0"
    assert str(find("imagenet2012:5.1.0", data_dir=data).version) == "5.1.0"
    assert tfds.builder("imagenet2012", data_dir=data).version == "5.1.0"  # TFDS still finds its own builder


def test_preparing_again_does_nothing_and_a_partial_data_set_is_not_taken_for_the_whole(tars, data, capsys):
    assert run(tars, data) == 0
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*.*_*")}
    assert run(tars, data) == 0
    assert "Nothing to do: imagenet2012 is prepared." in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*.*_*")} == before
    with pytest.raises(
        UsageError, match="6.0.0 holds only a part of ILSVRC2012 .train has 27 images instead.*: remove that directory"
    ):
        run(tars, data, allow_partial=False)


def test_archives_added_later_are_reported(tars, data, capsys):
    boxes = tars / "ILSVRC2012_bbox_train_v2.tar.gz"
    packed = boxes.read_bytes()
    boxes.unlink()
    run(tars, data)
    assert run(tars, data) == 0 and "made without" not in capsys.readouterr().out
    boxes.write_bytes(packed)
    assert run(tars, data) == 0
    place = data / "imagenet2012" / "6.0.0"
    cure = f"to include the missing data, remove {place} and run again."
    line = f"It was made without ILSVRC2012_bbox_train_v2.tar.gz: {cure}"
    assert capsys.readouterr().out.splitlines()[:2] == ["Nothing to do: imagenet2012 is prepared.", line]
    for gone in ("/none", "n" * 300):  # the archives are no longer needed
        assert run(gone, data) == 0 and "made without" not in capsys.readouterr().out


def test_less_than_the_whole_is_an_error_and_leaves_nothing(tars, data):
    with pytest.raises(UsageError) as caught:
        run(tars, data, allow_partial=False)
    message = str(caught.value)
    assert "train has 27 images instead of 1,281,167, no image in 994 classes (n01498041, n01514668, " in message
    assert "validation has 20 images instead of 50,000" in message
    assert message.endswith("--config.prepare.allow_partial=True") and "\n" not in message
    assert not list(data.glob("imagenet2012/[!.]*"))


def test_the_whole_needs_no_permission_and_is_recorded_as_whole(tars, data, monkeypatch, capsys):
    monkeypatch.setattr(completeness, "describe_missing", lambda split, labels: "")  # the complete archives have 138 GB
    assert run(tars, data, allow_partial=False) == run(tars, data, allow_partial=False) == 0
    assert json.loads((data / "imagenet2012/6.0.0/metadata.json").read_text())["whole"] is True
    output = capsys.readouterr().out
    assert "Nothing to do: imagenet2012 is prepared." in output and "not all of" not in output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"archives": None}, "config.prepare.archives is not set: .*--config.prepare.archives=DIR"),
        ({"archives": "/none"}, "/none has no ILSVRC2012_img_train.tar and no ILSVRC2012_img_val.tar: download"),
        ({"archives": "n" * 300}, r"nn/ILSVRC2012_img_train.tar cannot be read \(File name too long\): check its"),
        ({"data_dir": "gs://bucket"}, "config.data.data_dir=gs://bucket is not a local path"),
        ({"data_dir": f"{__file__}/none"}, "py/none/imagenet2012 cannot be written .*: name another directory"),
        ({"resize_short_side": 0}, "config.prepare.resize_short_side=0 must be at least 1 pixel"),
        ({"quality": 101}, "config.prepare.quality=101 must be in 1..100"),
        ({"num_threads": 0}, "config.prepare.num_threads=0 must be at least 1"),
    ],
)
def test_mistakes_are_errors_that_name_the_cure(tars, data, changes, message):
    given = {"archives": str(tars), "data_dir": str(data), "allow_partial": True} | OPTIONS | changes
    with pytest.raises(UsageError, match=message):
        prepare(**given)


def test_one_of_the_two_archives_is_enough_for_a_part(tars, data):
    (tars / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(UsageError, match="has no ILSVRC2012_img_val.tar: download"):
        run(tars, data, allow_partial=False)
    assert run(tars, data) == 0
    assert len(records(data, "train")) == 27


def test_too_small_a_disk_is_an_error_before_anything_is_written(tars, data, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(
        UsageError, match=r"needs 0.0 GB and .*/data has 0.0 GB free: free space, name another directory"
    ):
        run(tars, data)
    assert not list(data.glob("imagenet2012/[!.]*"))


def test_an_archive_that_stops_being_readable_is_an_error_and_leaves_nothing(tars, data, monkeypatch):
    read, sizes = os.pread, []

    def fail_later(descriptor, size, offset):
        sizes.append(size)
        if len(sizes) > 5:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", fail_later)
    with pytest.raises(UsageError, match=rf"img_train.tar cannot be read \({os.strerror(errno.ESTALE)}\): check its"):
        run(tars, data)
    assert not list(data.glob("imagenet2012/[!.]*"))


def test_a_full_disk_is_an_error_that_says_what_running_again_does(tmp_path):
    code = (
        "import errno, sys; from absl import app; import resnet_jax.programs.prepare.prepare\n"
        "from resnet_jax.programs import main\n"
        "def prepare(**options): raise OSError(errno.ENOSPC, 'full')\n"
        "resnet_jax.programs.prepare.prepare.prepare = prepare\n"
        "app.run(main.main, [*sys.argv, '--config=configs/resnet50.py', '--mode=prepare'], main.command_line.parse)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=processes.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the disk is full: make room and run the same command again to prepare\n"


def test_two_processes_do_not_prepare_the_same_data_set_at_once(tars, data):
    with (
        lock(Target(data.resolve(), shrink=None)),
        pytest.raises(UsageError, match="another process is at work in data directory .*/imagenet2012: wait for it"),
    ):
        run(tars, data)


def command(tars, data):
    changes = {"prepare.archives": tars, "prepare.allow_partial": True, "prepare.num_threads": 2}
    return [*processes.command("configs/resnet50.py", "unused", changes), "--mode=prepare"], data


@functools.cache
def many_files():
    """Returns files enough that a signal arrives while they are being written."""
    return ilsvrc.make_files(num_classes=40, per_class=50, num_validation=50)


def interrupted(tars, data, number):
    """Signals main.py while it writes; returns its exit status and output."""
    arguments, data = command(tars, data)
    with subprocess.Popen(
        arguments, cwd=processes.ROOT, env=processes.environment(data), stdout=subprocess.PIPE, text=True
    ) as process:
        while not list(data.glob("imagenet2012/incomplete.*/*array_record*")):
            assert process.poll() is None, "it ended before it could be interrupted"
            time.sleep(0.0005)
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=60)
    return process.returncode, output


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_an_interrupted_preparation_leaves_no_data_set_and_starts_over(tmp_path, data, number):
    files = many_files()
    ilsvrc.write(tmp_path / "tars", files)
    status, output = interrupted(tmp_path / "tars", data, number)
    left = list(data.glob("imagenet2012/[!.]*"))
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL and [path.name.split(".")[0] for path in left] == ["incomplete"]
    else:
        assert status == 75 and left == []
        assert "Stopped: nothing of the data set is kept. Run the same command again to begin anew." in output
    with pytest.raises(UsageError, match="data set 'imagenet2012' is not prepared"):
        open_source("tfds", training=True, **options(data))
    assert run(tmp_path / "tars", data) == 0
    assert [path.name for path in data.glob("imagenet2012/[!.]*")] == ["6.0.0"]
    assert len(records(data, "train")) == len(files.train)


def test_no_tensorflow_is_loaded(tars, data):
    call = f"prepare(archives={str(tars)!r}, data_dir={str(data)!r}, allow_partial=True, **{OPTIONS!r})"
    code = (
        f"import sys; from resnet_jax.programs.prepare.prepare import prepare; {call};"
        "print({'tensorflow', 'jax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=processes.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
