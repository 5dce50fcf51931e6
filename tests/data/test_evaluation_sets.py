import pytest

from resnet_jax.data.evaluation_sets import open_sets
from resnet_jax.data.imagenet_classes import synsets
from resnet_jax.data.several_labels import stored_labels
from resnet_jax.data.sources import example_ids
from resnet_jax.errors import UsageError
from tests.data.made_up_sets import CORRUPTIONS, imagenet_a, imagenet_c, imagenet_v2, prepare, write_classes


def opened(*words, root=None):
    return open_sets([str(word) for word in words], data_dir=root and str(root), cache_dir=None)


def test_a_folder_of_class_folders_is_one_set_with_all_images(tmp_path):
    (found,) = opened(imagenet_a(tmp_path))
    assert (found.name, found.group, found.source.name) == ("imagenet-a", "imagenet-a", "imagenet-a")
    assert found.source.class_names == tuple(synsets()[k] for k in (6, 11, 13, 300, 999))
    assert [found.source[k].label for k in range(10)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert next(iter(example_ids(found.source))) == f"{synsets()[6]}/0.jpg"


def test_the_three_sets_of_v2_are_a_group(tmp_path):
    found = opened(imagenet_v2(tmp_path))
    names = [f"v2/imagenetv2-{name}-format-val" for name in ("matched-frequency", "threshold0.7", "top-images")]
    assert [(one.name, one.group) for one in found] == [(name, "v2") for name in names]
    assert found[0].source.class_names[:4] == ("0", "1", "10", "11")


@pytest.mark.parametrize("below", ["", "noise", "noise/gaussian_noise"])
def test_corruptions_and_severities_are_a_group_at_any_depth(tmp_path, below):
    root = imagenet_c(tmp_path)
    found = opened(root / below)
    assert len(found) == (10 if not below else 5)
    assert any(one.name.endswith("gaussian_noise/5") for one in found)
    assert all(len(one.source) == 2 for one in found) and len({one.group for one in found}) == 1
    if not below:
        assert {one.name.split("/")[2] for one in found} == set(CORRUPTIONS)


def test_a_tfds_name_is_one_set_whose_classes_are_those_with_images(tmp_path):
    prepare(tmp_path, "imagenet_a", labels=(999, 11, 6, 11))
    (found,) = opened("imagenet_a", root=tmp_path)
    assert found.name == "imagenet_a" and found.source.name == "imagenet_a:1.0.0/test"
    assert found.source.class_names == tuple(synsets()[k] for k in (6, 11, 999))
    assert sorted(found.source[k].label for k in range(4)) == [0, 1, 1, 2]
    assert stored_labels(found.source) is None


def test_a_tfds_name_without_its_config_is_the_group_of_its_configs(tmp_path):
    configs = ("gaussian_noise_1", "gaussian_noise_2", "snow_5")
    prepare(tmp_path, "imagenet2012_corrupted", configs=configs)
    found = opened("imagenet2012_corrupted", root=tmp_path)
    assert [one.name for one in found] == [f"imagenet2012_corrupted/{config}" for config in configs]
    assert {one.group for one in found} == {"imagenet2012_corrupted"}
    (one,) = opened("imagenet2012_corrupted/snow_5", root=tmp_path)
    assert one.name == one.group == "imagenet2012_corrupted/snow_5"


def test_imagenet2012_real_has_several_labels(tmp_path):
    prepare(tmp_path, "imagenet2012_real", real=True)
    (found,) = opened("imagenet2012_real", root=tmp_path)
    # The classes with images are 0, 3, 5 and 9: labels of other classes, here 4 and 8, cannot be predicted.
    assert [found.source[k].label for k in range(4)] == [1, 2, 3, 0]
    assert stored_labels(found.source) == [(1,), (), (), (0,)]


def test_what_is_missing_or_named_twice_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"eval.sets: .*/empty holds no class folders with images: name a folder"):
        opened(tmp_path / "empty")
    with pytest.raises(UsageError, match=r"eval.sets: 'imagenet_r' is neither a folder nor a data set in .*: give the"):
        opened("imagenet_r", root=tmp_path)
    write_classes(tmp_path / "one" / "set", ["a", "b"])
    write_classes(tmp_path / "two" / "set", ["a", "b"])
    with pytest.raises(UsageError, match="names set twice: name each set once, or rename one of the folders"):
        opened(tmp_path / "one" / "set", tmp_path / "two" / "set")
