"""A source that is given the data of another one names that one."""

import os

import pytest

from resnet_jax.data.sources import open_source
from resnet_jax.data.sources.image_folders import image_folders_instead, other_source_instead
from resnet_jax.errors import UsageError
from tests.data.sources.conftest import DIGITS, FOLDER, TFRECORD


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("tfds", {**DIGITS, "name": "imagenet2012"}),
        ("tfds", DIGITS),
        ("tfrecord", TFRECORD),
        ("cifar_binary", {}),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_folders_of_images_given_to_another_source_are_recognised(folder, source, options, training):
    for directory, names in ((folder, "train, val"), (folder / "train", "Rose, aster, lily")):
        message = (
            rf"source={source} .*data_dir={directory} holds folders of images \({names}\): add --config.data.source=f"
        )
        with pytest.raises(UsageError, match=message):
            open_source(source, training=training, **options, data_dir=str(directory))
        assert not (directory / "digits").exists()


def test_data_of_other_sources_given_to_folder_are_recognised(digits, shards, cifar, tmp_path):
    (tmp_path / "deep").symlink_to(cifar)
    found = {"tfds": digits.parents[1], "tfrecord": shards, "cifar_binary": tmp_path}
    for source, directory in found.items():
        assert other_source_instead(directory).endswith(f"set --config.data.source={source}")
        assert image_folders_instead(directory) is None
        with pytest.raises(UsageError, match=rf"It holds .*: for such data, set --config.data.source={source}$"):
            open_source("folder", training=True, **FOLDER, data_dir=str(directory))


def test_a_directory_without_images_is_not_taken_for_folders_of_images(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "text.txt").touch()
    assert image_folders_instead(tmp_path) is None and image_folders_instead(tmp_path / "none") is None
    (tmp_path / "a" / "b" / "1.jpg").touch()
    assert image_folders_instead(tmp_path) is not None


def test_a_folder_that_cannot_be_listed_hides_no_other_data(tmp_path, monkeypatch):
    """Looks for data sets of TFDS in a directory with folders that belong to others, such as '/'."""
    for name in ("closed", "open"):
        (tmp_path / name / "1.0.0").mkdir(parents=True)
        (tmp_path / name / "1.0.0" / "dataset_info.json").write_text("{}")
    scandir = os.scandir

    def refuse(path):
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert other_source_instead(tmp_path).startswith(". It holds open/1.0.0/dataset_info.json: ")
