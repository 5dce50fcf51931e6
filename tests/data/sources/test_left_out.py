"""What a folder of images holds besides images, and names that look alike or control a terminal."""

import os
import unicodedata

import pytest
from PIL import Image

from resnet_jax.data.class_names import alike
from resnet_jax.data.other_formats import FORMATS
from resnet_jax.data.sources import open_source
from resnet_jax.data.sources.files import list_images
from resnet_jax.data.sources.image_folders import SUFFIXES
from resnet_jax.errors import UsageError
from tests.data.sources.conftest import FOLDER


def write(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def open_both(root):
    return [open_source("folder", training=t, data_dir=str(root), **FOLDER) for t in (True, False)]


def test_every_ending_that_the_decoders_read_is_listed():
    Image.init()
    known = {ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS}
    assert known == set(SUFFIXES)


def test_files_left_out_are_counted_by_ending(tmp_path):
    images = [f"{split}/{name}/{k}.JFIF" for split in ("train", "val") for name in "ab" for k in range(2)]
    write(tmp_path, *images, *(f"train/a/{k}.txt" for k in range(12)), *(f"train/b/{k}" for k in range(3)))
    write(
        tmp_path, "train/a/.DS_Store", "train/a/._0.jpg", "train/top.png", "train/b/deep/x.Svg", "train/b/v1.0 of mine"
    )
    os.mkfifo(tmp_path / "train" / "a" / "fifo.jpg")
    train, evaluation = open_both(tmp_path)
    assert len(train) == len(evaluation) == 4
    assert train.left_out == (
        "20 files in train: 12 .txt, 3 without an ending, 1 .0 of mine, 1 .svg, 1 FIFOs, sockets or devices, 1 images "
        "outside of class folders, 1 others"
    )
    assert evaluation.left_out == ""


def test_control_characters_of_endings_are_escaped(tmp_path):
    write(tmp_path, "a/1.jpg", "a/2.jpg", "a/3.\x1b[2J", "b/1.jpg", "b/2.jpg")
    assert "\x1b" not in open_both(tmp_path)[0].left_out


def test_a_class_of_other_files_says_which(tmp_path):
    write(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.heic", "b/2.heic")
    with pytest.raises(UsageError, match=r"/b has no image \(.*\) \(it has 2 files in b: 2 .heic\): every class needs"):
        open_both(tmp_path)


def test_predictions_say_what_they_leave_out(tmp_path, caplog):
    write(tmp_path, "a/1.jpg", "a/2.txt", "3.heic")
    with caplog.at_level("INFO", logger="resnet_jax"):
        assert [os.path.relpath(path, tmp_path) for path in list_images([str(tmp_path)], [])] == ["a/1.jpg"]
    assert caplog.messages == [f"left out     2 files in {tmp_path}: 1 .heic, 1 .txt"]


TWINS = [
    (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")),
    ("rose", "rose "),
    ("red rose", "red\u00a0rose"),
    ("rose", "\ufeffrose"),
    ("rose", "ro\u200bse"),
    ("rose", "rose\n"),
]


@pytest.mark.parametrize(("first", "second"), [*TWINS, *(pair[::-1] for pair in TWINS)])
def test_classes_that_only_look_alike_are_named_with_their_splits(tmp_path, first, second):
    write(tmp_path, f"train/{first}/1.jpg", "train/b/1.jpg", f"val/{second}/1.jpg", "val/b/1.jpg")
    with pytest.raises(UsageError) as caught:
        open_both(tmp_path)
    message = str(caught.value)
    assert f"/train and {tmp_path}/val name a class differently, {first!a} and {second!a}: these differ" in message
    assert message.isprintable() and alike(["b", first, second]) == [(first, second)]


def test_classes_that_look_different_are_not_alike():
    assert alike(["Rose", "rose", "roses", "b", "ros", "1", "2"]) == []


def test_names_in_errors_are_escaped(tmp_path):
    write(tmp_path, "train/a\x1b[2J\n/1.jpg", "train/b/1.jpg", "val/b/1.jpg", "val/\u202eevil/1.jpg")
    with pytest.raises(UsageError, match="have different classes") as caught:
        open_both(tmp_path)
    assert str(caught.value).isprintable()


def test_links_to_folders_of_the_system_are_not_followed(tmp_path):
    write(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "self").symlink_to("/proc/self")
    (tmp_path / "a" / "devices").symlink_to("/dev")
    train, _ = open_both(tmp_path)
    assert len(train) == 2 and "2 folders of the system (/proc, /sys, /dev)" in train.left_out
    assert len(list_images([str(tmp_path)], [])) == 4


def test_what_macos_adds_to_a_zip_file_is_no_class(tmp_path):
    write(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "__MACOSX/a/._1.jpg", "__MACOSX/._a")
    assert open_both(tmp_path)[0].class_names == ("a", "b")
