import json

import pytest

from resnet_jax.data.several_labels import labels_from_file, stored_labels
from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from tests.data.made_up_sets import write_classes

FILE = "ILSVRC2012_val_{number:08d}.JPEG"


def validation(root, file=FILE):
    folder = write_classes(root / "val", ["a", "b", "c"], per_class=2, file=file, first=1)
    return open_source("folder", training=False, data_dir=str(folder), train_split="train", eval_split="train")


def write(root, content):
    path = root / "real.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_labels_belong_to_the_numbers_in_the_names_of_the_images(tmp_path):
    labels = [[0], [1, 2], [], [0, 1, 2], [2], [1], [0]]
    assert labels_from_file(write(tmp_path, labels), validation(tmp_path)) == [tuple(k) for k in labels[:6]]


def test_sources_with_one_label_have_no_several(tmp_path):
    assert stored_labels(validation(tmp_path)) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a JSON list of lists of labels: give the path of real.json"),
        ([1, 2], "is not a JSON list of lists"),
        ([[3]] * 6, "has label 3, but the data have 3 classes"),
        ([[0]] * 5, "image 'c/ILSVRC2012_val_00000006.JPEG' of folder/train is not named .* up to 5: use"),
    ],
)
def test_another_file_is_one_line(tmp_path, content, message):
    with pytest.raises(UsageError, match=message) as error:
        labels_from_file(write(tmp_path, content), validation(tmp_path))
    assert "\n" not in str(error.value)


def test_images_of_other_names_and_a_missing_file_are_one_line(tmp_path):
    source = validation(tmp_path, file="{number}.JPEG")
    with pytest.raises(UsageError, match="image 'a/1.JPEG' of folder/train is not named ILSVRC2012_val_<8 digits>"):
        labels_from_file(write(tmp_path, [[0]] * 6), source)
    with pytest.raises(UsageError, match=r"labels=/none.json cannot be read \(No such file"):
        labels_from_file("/none.json", source)
