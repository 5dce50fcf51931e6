import pytest

from resnet_jax.data.images import decode
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
        ({"train_split": "training"}, "there is no folder .*/training: name its parent with --config.data.data_dir"),
        ({"eval_split": "train/lily"}, "train/lily has no folders of classes"),
        ({"eval_split": "odd"}, "the classes of train and odd differ in Rose, daisy, lily"),
        ({"train_split": "empty", "eval_split": "empty"}, "no image in .*/empty/aster .*: every class needs some"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(folder, change, message):
    for path in ("odd/aster", "odd/daisy", "empty/aster"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    with pytest.raises(UsageError, match=message):
        open_source("folder", training=False, **{**FOLDER, "data_dir": str(folder), **change})
