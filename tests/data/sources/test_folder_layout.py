import shutil

import pytest

from resnet_jax.data.sources import open_source
from resnet_jax.data.sources.source import count_shared
from resnet_jax.errors import UsageError
from tests.data.sources.conftest import FOLDER, SYNTHETIC


def write(root, **counts):
    """Writes files into folders: folder, with '__' for '/', -> their number. They contain their names, not images."""
    for folder, count in counts.items():
        directory = root / folder.replace("__", "/")
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (directory / f"{number}.jpg").write_text(str(number))
    return root


def open_both(root, **options):
    """Opens the training and the evaluation split."""
    return [open_source("folder", training=t, data_dir=str(root), **FOLDER | options) for t in (True, False)]


def files(source, root):
    return {source.where(index).removeprefix(f"{root}/") for index in range(len(source))}


def test_class_folders_alone_are_divided_by_hash(tmp_path):
    train, evaluation = open_both(write(tmp_path, daisy=40, rose=10, tulip__red=3, tulip__yellow=2, single=1))
    assert train.class_names == evaluation.class_names == ("daisy", "rose", "single", "tulip")
    assert evaluation.class_counts.tolist() == [4, 1, 0, 1] and train.class_counts.tolist() == [36, 9, 1, 4]
    assert len(files(train, tmp_path) | files(evaluation, tmp_path)) == 56 and count_shared(train, evaluation) == 0
    assert train.division == evaluation.division
    assert train.division == "10 % of each class held out, by file name (data.eval_fraction)"
    # The same on every machine and with every version: a change here moves training images into evaluation sets.
    assert sorted(files(evaluation, tmp_path)) == EXPECTED
    labels = [train.class_names[train[index].label] for index in range(len(train))]
    assert labels == [train.where(index).removeprefix(f"{tmp_path}/").split("/")[0] for index in range(len(train))]


EXPECTED = [
    *(f"daisy/{number}.jpg" for number in (13, 22, 26, 31)),
    "rose/6.jpg",
    "tulip/yellow/1.jpg",
]


def test_the_fraction_and_the_names_are_part_of_the_identity(tmp_path):
    write(tmp_path / "a", daisy=40, rose=20)
    names = [source.name for source in open_both(tmp_path / "a")]
    assert names[0].endswith("/train") and names[1].endswith("/held_out") and names[0].startswith("folder+")
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert [source.name for source in open_both(tmp_path / "copy")] == names
    (tmp_path / "copy" / "daisy" / "7.jpg").rename(tmp_path / "copy" / "daisy" / "seven.jpg")
    for other in (open_both(tmp_path / "a", eval_fraction=0.2), open_both(tmp_path / "copy")):
        assert other[0].name != names[0] or other[1].name != names[1]


def test_the_only_split_is_divided_alike_whether_it_or_its_folder_is_named(tmp_path):
    write(tmp_path, train__daisy=30, train__rose=30)
    both, inner = open_both(tmp_path), open_both(tmp_path / "train")
    assert [source.name for source in both] == [source.name for source in inner]
    assert [len(source) for source in both] == [54, 6]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("val", "test"), "val"),
        (("validation", "test"), "validation"),
        (("valid", "test"), "test"),
        (("test", "more"), "test"),
    ],
)
def test_unset_eval_split_is_what_is_there(tmp_path, folders, expected):
    write(tmp_path, **{f"{name}__{label}": 2 for name in ("train", *folders) for label in "ab"})
    train, evaluation = open_both(tmp_path)
    assert (train.name, evaluation.name, train.division) == ("folder/train", f"folder/{expected}", "")


def test_a_class_may_be_called_train(tmp_path):
    train, _ = open_both(write(tmp_path, bus=9, train=9))
    assert train.class_names == ("bus", "train")


def test_slices_have_images_of_every_class_and_do_not_overlap(tmp_path):
    write(tmp_path, train__a=50, train__b=20, test__a=10, test__b=10)
    train, evaluation = open_both(tmp_path, train_split="train[:80%]", eval_split="train[80%:]")
    assert (train.class_counts.tolist(), evaluation.class_counts.tolist()) == ([40, 16], [10, 4])
    assert not files(train, tmp_path) & files(evaluation, tmp_path)
    assert train.name.startswith("folder+") and train.name.endswith("/train[:80%]")
    paths = [train.where(index) for index in range(len(train))]
    whole = open_both(tmp_path)[0]
    assert paths == [path for index in range(len(whole)) if (path := whole.where(index)) in set(paths)]  # in its order
    first, rest = open_both(tmp_path, train_split="train+test[:4]", eval_split="test[4:]")
    assert first.class_counts.tolist() == [52, 22] and rest.class_counts.tolist() == [8, 8]
    flat = open_both(tmp_path / "train", train_split="train[:60]", eval_split="train[60:]")
    assert [len(source) for source in flat] == [60, 10]


def test_shared_images_are_counted(tmp_path, data_dir):
    write(tmp_path, train__a=50, train__b=50, val__a=10, val__b=10)

    def shared(train_split, eval_split):
        return count_shared(*open_both(tmp_path, train_split=train_split, eval_split=eval_split))

    assert shared("train", "train") == 100 and shared("train", "val") == 0
    assert shared("train[:60%]", "train[50%:]") == 10 and shared("train+val[:5]", "val") == 5
    (tmp_path / "test").symlink_to(tmp_path / "train")
    assert shared("train[:30]", "test") == 30
    assert count_shared(*(open_source("synthetic", training=t, **SYNTHETIC) for t in (True, False))) == 0
    digits = {"name": "digits", "data_dir": data_dir}
    sets = [("train[:100]", "train[90:200]+train[:3]", 13), ("train", "train", 1437), ("train", None, 0)]
    for train_split, eval_split, expected in sets:
        options = {**digits, "train_split": train_split, "eval_split": eval_split}
        assert count_shared(*(open_source("tfds", training=t, **options) for t in (True, False))) == expected


@pytest.mark.parametrize(
    ("tree", "options", "message"),
    [
        ({}, {}, r"has no folders: put the images of each class into a folder .*/<class>/$"),
        ({"a": 0, "b": 2}, {}, r"/a has no image .*: every class needs images in each split; move a folder that"),
        (
            {"flowers__a": 2, "flowers__b": 2},
            {},
            r"a single folder, flowers, .*: set --config.data.data_dir=.*/flowers$",
        ),
        ({"Train__a": 2, "Test__a": 2}, {}, r"^config.data.train_split='train': .* its folders are Test, Train: name"),
        ({"train": 3, "val": 3}, {}, "/train has no class folders: put the images of each class into"),
        (
            {"train__a": 2, "other__a": 2},
            {},
            r"^config.data.eval_split is unset, and .* its folders are other, train: name",
        ),
        (
            {"train__a": 2, "val__a": 2},
            {"eval_split": "test"},
            r"^config.data.eval_split='test': .* train, val: name one",
        ),
        (
            {"a": 2, "b": 2},
            {"eval_split": "val"},
            r"^config.data.eval_split='val': .* are classes \(a, b\): leave config",
        ),
        (
            {"a": 2, "b": 2},
            {"train_split": "x"},
            r"^config.data.train_split='x': .* are classes \(a, b\): leave config",
        ),
        ({"a": 1, "b": 1}, {}, r"^config.data.eval_split is unset, and no class in .* has two images"),
        ({"train__a": 2, "val__b": 2}, {}, r"have different classes \(a, b\): .*--config.data.eval_split=NAME$"),
        (
            {"train__a": 2},
            {"train_split": "train[:0%]"},
            r"^config.data.train_split='train\[:0%\]' selects none of the 2",
        ),
    ],
)
def test_errors_name_the_key_that_is_wrong_and_list_what_was_found(tmp_path, tree, options, message):
    write(tmp_path, **tree)
    with pytest.raises(UsageError, match=message) as caught:
        open_both(tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(
        UsageError, match="there is no folder .*/nowhere: set --config.data.data_dir=DIR to an existing"
    ):
        open_both(tmp_path / "nowhere")
