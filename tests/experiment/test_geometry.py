import re

import pytest

from resnet_jax import experiment
from resnet_jax.data.views import Views
from resnet_jax.errors import UsageError
from resnet_jax.experiment.geometry import check_views, describe_views, measure_views, view_warnings
from resnet_jax.programs.recipes import get_recipe, recipes
from tests.data.test_views import Images
from tests.tiny import tiny_config

PHOTOGRAPHS = [((375, 500),), ((500, 375),), ((300, 300),), ((1080, 1920),), ((375, 500), (500, 375), (64, 48))]
# The sizes of the images that a recipe is for, where they are no photographs.
OTHER = {"cifar10": [((32, 32),)], "cifar10_r1": [((32, 32),)], "digits": [((8, 8),)]}


def warnings(config, *sizes):
    return view_warnings(config, measure_views(config, Images(sizes)))


def with_changes(recipe, **changes):
    config = get_recipe(recipe)
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config


@pytest.mark.parametrize("recipe", [name for name, _ in recipes()])
def test_recipes_are_quiet(recipe):
    config = get_recipe(recipe)
    for sizes in OTHER.get(recipe, PHOTOGRAPHS):
        check_views(config, measure_views(config, Images(sizes)))
        assert warnings(config, *sizes) == []


# Changes to a recipe, the size of the images, and what is wrong.
MISMATCHES = [
    ("resnet50", {"eval__image_size": 112}, (375, 500), r"2\.\d+ times as large in training as in evaluation"),
    ("resnet50", {"data__image_size": 448, "eval__image_size": 224}, (300, 300), "times as large in training"),
    ("resnet50", {"data__eval_crop__fraction": 0.4}, (375, 500), "times as large in evaluation as in training"),
    ("cifar10", {}, (56, 56), "1.75 times as large in training as in evaluation"),
    ("cifar10", {}, (96, 96), "3.00 times as large in training as in evaluation"),
    ("cifar10", {}, (16, 16), "2.00 times as large in evaluation as in training"),
    ("digits", {"data__eval_crop__fraction": 0.5}, (32, 32), "1.7. times as large in evaluation as in training"),
]


@pytest.mark.parametrize(("recipe", "changes", "size", "message"), MISMATCHES, ids=str)
def test_a_mismatch_is_reported_with_the_key_that_cures_it(recipe, changes, size, message):
    config = with_changes(recipe, **changes)
    (warning,) = warnings(config, size)
    assert re.search(message, warning)
    key, value = re.search(r"--config\.(\S+)=(\S+) would make them equal", warning).groups()
    cured = with_changes(recipe, **changes, **{key: float(value) if "fraction" in key else int(value)})
    assert warnings(cured, size) == []
    views = measure_views(cured, Images((size,)))
    assert views.enlargement == pytest.approx(1, abs=0.03)
    stored, used = (f"{size[0]} x {size[1]}", f"{views.height} x {views.width}")
    enlarged = f", enlarged to {used}" if used != stored else ""
    assert describe_views(views).startswith(f"images of about {stored} pixels{enlarged}; a training crop shows ")


def test_an_evaluation_that_shows_less_than_training_is_reported():
    config = with_changes("resnet50", data__eval_crop__fraction=0.5)
    (warning,) = warnings(config, (375, 500))
    assert re.fullmatch(
        r"evaluation shows 19 % of an image, training 4\d %: set --config.data.eval_crop.fraction=0.7\d", warning
    )
    assert warnings(with_changes("resnet50", data__eval_crop__fraction=0.76), (375, 500)) == []


@pytest.mark.parametrize("side", [112, 300, 4000])
def test_pad_on_large_images_is_refused(side):
    config = get_recipe("cifar10")
    views = measure_views(config, Images(((side, side),)))
    with pytest.raises(UsageError, match=rf"'pad' cuts 32 x 32 pixels out of images of about {side} x {side} pixels, "):
        check_views(config, views)
    (warning,) = view_warnings(config, views)
    assert "Set --config.data.train_crop.name=random_resized" in warning
    config.data.train_crop.name = "random_resized"
    check_views(config, measure_views(config, Images(((side, side),))))


def test_sizes_are_those_of_the_stored_images():
    config = get_recipe("digits")
    views = measure_views(config, Images(((8, 8), (8, 8), (8, 8), (60, 80))))
    assert (views.stored_height, views.stored_width, views.height, views.width) == (8, 8, 40, 40)
    assert describe_views(views).startswith("images of about 8 x 8 pixels, enlarged to 40 x 40; a training crop shows ")
    config.data.enlarge_to = None
    assert describe_views(measure_views(config, Images(((8, 8),)))).startswith(
        "images of about 8 x 8 pixels; a training"
    )


def test_an_image_set_that_cannot_be_read_is_left_to_the_run():
    check_views(tiny_config(), None)
    assert view_warnings(tiny_config(), None) == []


def test_a_build_refuses_or_warns():
    large = {"data.source": "synthetic_jpeg", "data.train_crop.name": "pad", "data.synthetic.image_height": 90}
    config = tiny_config(large | {"data.synthetic.image_width": 120})
    with pytest.raises(UsageError, match="'pad' cuts 12 x 12 pixels out of images of about 90 x 120 pixels, without"):
        experiment.build(config)
    reporting = experiment.build(config, refuse_tiny_crops=False).reporting
    assert "'pad' cuts 12 x 12" in reporting.description["warning"]
    assert reporting.views.startswith("images of about 90 x 120 pixels; a training crop shows 1.3 % of the area")


def test_equal_sizes_are_called_equal():
    views = Views(8, 8, 8, 8, train_share=0.5, eval_share=1.0, enlargement=0.997)
    text = (
        "images of about 8 x 8 pixels; a training crop shows 50 % of the area on average, the evaluation crop 100 %; "
    )
    assert describe_views(views) == text + "objects appear equally large in training and evaluation"
    assert describe_views(views._replace(enlargement=0.99)).endswith(
        "appear 1.01 times as large in training as in evaluation"
    )
