"""The names of examples do not depend on where the data are stored."""

import shutil

from resnet_jax.data.sources import example_ids, open_source
from resnet_jax.data.sources.synthetic import SyntheticSource
from tests.data.sources.conftest import FOLDER


def ids(kind, **options):
    return list(example_ids(open_source(kind, training=False, **options)))


def test_a_file_is_named_by_its_path_in_the_split_and_moved_data_keep_the_names(folder, tmp_path):
    before = ids("folder", **FOLDER, data_dir=str(folder))
    assert len(before) == 6 == len(set(before)) and before[0].split("/")[0] == "Rose"
    shutil.copytree(folder, tmp_path / "moved")
    assert ids("folder", **FOLDER, data_dir=str(tmp_path / "moved")) == before


def test_files_of_several_splits_are_named_with_their_split(folder):
    names = ids("folder", **FOLDER | {"eval_split": "train+val"}, data_dir=str(folder))
    assert len(names) == 24 == len(set(names))
    assert {name.split("/")[0] for name in names} == {"train", "val"}


def test_records_are_named_by_the_file_of_their_shard_and_their_number(tmp_path):
    names = ids("tfds", name="digits", data_dir=str(tmp_path), eval_split="test[100:102]")
    assert names == [f"digits-test.array_record-00000-of-00001 {k}" for k in (100, 101)]


def test_examples_of_other_sources_are_named_by_their_index():
    assert list(example_ids(SyntheticSource("made up", 3, ("a", "b"), 4))) == ["0", "1", "2"]
