import errno
import os

import pytest

from resnet_jax.data.decode import decode
from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from tests.data.sources.conftest import FOLDER


def test_classes_of_a_folder_are_numbered_by_sorted_name(folder):
    train, evaluation = (open_source("folder", training=t, **FOLDER, data_dir=str(folder)) for t in (True, False))
    assert (len(train), len(evaluation), len(train.class_names)) == (18, 6, 3)
    assert (train.name, evaluation.name) == ("folder/train", "folder/val")
    # 'Rose' sorts before 'aster' and 'lily', as Python and PyTorch sort: capitals first.
    assert [train[index].label for index in range(18)] == [0] * 7 + [1] * 5 + [2] * 6
    assert decode(train[0].image)[0, 0, 0] == 160 and decode(train[8].image)[0, 0, 0] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_dir": None}, "source=folder needs --config.data.data_dir=DIR with DIR/train/<class>/<image>"),
        (
            {"train_split": "training"},
            "^config.data.train_split='training': .* has no folder 'training', its folders are empty, odd, train, val: "
            "name one with --config.data.train_split=NAME$",
        ),
        ({"eval_split": "train/lily"}, "train/lily has no class folders"),
        ({"eval_split": "odd"}, "train and .*/odd have different classes .Rose, daisy, lily.: give"),
        ({"train_split": "empty", "eval_split": "empty"}, "/empty/aster has no image .*: every class needs images"),
    ],
)
def test_what_is_wrong_with_a_folder_is_reported(folder, change, message):
    for path in ("odd/aster", "odd/daisy", "empty/aster"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    with pytest.raises(UsageError, match=message):
        open_source("folder", training=False, **{**FOLDER, "data_dir": str(folder), **change})


def open_files(root, *paths):
    """Returns a source of files whose content is their path."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    # With an evaluation split, so that no images are held out.
    return open_source("folder", training=True, train_split="train", eval_split="train", data_dir=str(root))


def test_files_have_the_order_of_pytorch(tmp_path):
    # As torchvision 0.27's ImageFolder: folders are sorted by their whole path, where '-' is before '/'.
    paths = ["a/2.jpg", "a/10.pgm", "a/b/1.JPG", "a/b/c/1.tiff", "a/b-c/0.png", "d/e/f.webp"]
    order = ["a/10.pgm", "a/2.jpg", "a/b/1.JPG", "a/b-c/0.png", "a/b/c/1.tiff", "d/e/f.webp"]
    source = open_files(tmp_path, *(f"train/{path}" for path in paths), "train/a/b/text.txt", "train/top.jpg")
    assert [source[index].image.decode() for index in range(len(source))] == [f"train/{path}" for path in order]
    assert [source[index].label for index in range(6)] == [0] * 5 + [1]
    assert [source.where(index) for index in range(6)] == [str(tmp_path / "train" / path) for path in order]


def test_hidden_files_and_folders_are_skipped(tmp_path):
    hidden = (".ipynb_checkpoints/1.jpg", "a/._1.jpg", "a/.ipynb_checkpoints/1.jpg", "a/b/.c/d/1.jpg")
    source = open_files(
        tmp_path, "train/a/1.jpg", "train/b/.hidden.jpg", "train/b/2.jpg", *(f"train/{p}" for p in hidden)
    )
    assert source.class_names == ("a", "b")
    assert [source[index].image for index in range(len(source))] == [b"train/a/1.jpg", b"train/b/2.jpg"]


def test_a_link_to_itself_is_left_out(tmp_path):
    open_files(tmp_path, "train/a/1.jpg")
    (tmp_path / "train" / "b").symlink_to("b")
    (tmp_path / "train" / "a" / "c").symlink_to("c")
    source = open_files(tmp_path)
    assert len(source) == 1 and source.class_names == ("a",)


def test_links_are_followed(tmp_path):
    open_files(tmp_path, "train/a/1.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2.jpg").write_text("2")
    (tmp_path / "train" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train" / "a" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train" / "a" / "2.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    source = open_files(tmp_path)
    assert [source[index][:2] for index in range(len(source))] == [
        (b"train/a/1.jpg", 0),
        (b"2", 0),
        (b"2", 0),
        (b"2", 1),
    ]


@pytest.mark.parametrize("target", [".", "..", "../..", "../b", "deep"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_folder_is_listed_once_for_a_class(tmp_path, target, count):
    source = open_files(tmp_path, "train/a/1.jpg", "train/a/deep/2.jpg", "train/b/3.jpg")
    for number in range(count):
        (tmp_path / "train" / "a" / f"link{number}").symlink_to(target)
    linked = open_files(tmp_path)
    counts = {"../b": [3, 1]}.get(target, [2, 1])
    assert linked.class_counts.tolist() == counts and source.class_counts.tolist() == [2, 1]
    again = count - (target == "../b")
    assert linked.left_out == (
        f"{again} file{'s' * (again > 1)} in train: {again} links to folders already listed" if again else ""
    )


@pytest.mark.parametrize("folder", ["train", "train/b", "train/b/c"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch, folder, number):
    open_files(tmp_path, "train/a/1.jpg", "train/b/c/1.jpg")
    scandir = os.scandir

    def list_others(path):
        if str(path) == str(tmp_path / folder):
            raise OSError(number, os.strerror(number), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", list_others)  # root ignores file modes
    message = rf"{tmp_path / folder} cannot be listed \({os.strerror(number)}\): check its permissions and the disk"
    with pytest.raises(UsageError, match=message):
        open_files(tmp_path)
