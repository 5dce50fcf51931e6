import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.sources import open_source
from resnet_jax.experiment.data_warnings import data_warnings
from resnet_jax.text import labelled
from tests.data.encoded import encode
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three classes of 60, 30 and 1 images of 40 x 40 pixels, without splits."""
    root = tmp_path_factory.mktemp("photos")
    for label, (name, count) in enumerate({"daisy": 60, "rose": 30, "one": 1}.items()):
        (root / name).mkdir()
        for number in range(count):
            pixels = np.full((40, 40, 3), 80 * label + number, np.uint8)
            (root / name / f"{number}.png").write_bytes(encode(pixels, "PNG"))
    return root


def warnings(photos, batch_size=4, **options):
    return data_warnings(
        batch_size, *(open_source("folder", training=t, data_dir=str(photos), **options) for t in (True, False))
    )


def test_good_data_cause_no_warning():
    sources = [open_source("synthetic", training=t, num_train=640, num_eval=64, num_classes=4) for t in (True, False)]
    assert data_warnings(64, *sources) == []
    assert data_warnings(65, *sources) == [
        "a batch of 65 images is more than a tenth of the 640 training images, so an epoch has only 9.8 steps: set a "
        "smaller --config.data.batch_size"
    ]


def test_a_class_of_one_image_is_named(photos):
    assert warnings(photos) == [
        "at most one training image in 1 class (one): such a class can hardly be learned, add images",
        "no evaluation image in 1 class (one): the accuracy says nothing about such a class",
    ]


def test_training_images_that_are_evaluated_are_counted(photos):
    assert warnings(photos, eval_split="train")[0] == (
        "all 91 evaluation images are also trained on, so the accuracy will be too high: set config.data.train_split "
        "and config.data.eval_split to different images"
    )
    found = warnings(photos, train_split="train[:50]", eval_split="train[40:]")
    assert found[0].startswith("10 of the 51 evaluation images are also trained on")


def test_a_single_class_is_reported():
    sources = [open_source("synthetic", training=t, num_train=99, num_eval=9, num_classes=1) for t in (True, False)]
    assert data_warnings(8, *sources) == [
        "all images are of one class, 0, so there is nothing to learn: add images of other classes"
    ]


def test_the_start_of_a_run_describes_classes_division_and_warnings(photos):
    config = tiny_config({"data.source": "folder", "data.data_dir": str(photos), "model.num_classes": None})
    lines = experiment.build(config).reporting.description
    assert lines["classes"] == "daisy 54, one 1, rose 27; daisy has 66% of the training images"
    assert lines["data"] == f"{photos.name}/train 82 images, 9 held out, 3 classes, 12 px"
    assert lines["split"] == "10 % of each class held out, by file name (data.eval_fraction)"
    assert lines["warning"].splitlines()[0].startswith("a batch of 48 images is more than a tenth of the 82 training")
    assert len(lines["warning"].splitlines()) == 3
    config.data.eval_fraction = 0.5
    assert experiment.build(config).reporting.description["split"].startswith("50 % of each class")
    evaluated = experiment.build_evaluation(config).description
    assert evaluated["split"].startswith("50 % of each class")
    assert evaluated["data"] == f"{photos.name} 45 images, held out from training, 12 px"


def test_the_lines_of_the_division_fit_into_80_columns(photos):
    source = open_source("folder", training=False, data_dir=str(photos), eval_fraction=0.125)
    assert "12.5 % of" in source.division and len(labelled("split", source.division)) <= 80
