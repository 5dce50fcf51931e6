"""The pictures of the docs show the images and learning rates of training, and every recipe."""

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks import augmentations_picture, rooms_picture, schedules_picture
from resnet_jax.programs.recipes import recipes


@pytest.fixture(scope="module")
def shown() -> dict[str, augmentations_picture.Shown]:
    """The rows of the picture, by title and description."""
    source = augmentations_picture.Pictures(3)
    return {f"{row.title} {row.about}": augmentations_picture.show(row, source) for row in _rows()}


def _rows():
    return [row for row in augmentations_picture.make_rows() if row.title != "random crop, flip"]


def one(shown, title):
    (own,) = (own for name, own in shown.items() if name.startswith(title))
    return own


def test_the_output_of_preprocessing_is_converted_back_to_the_original_pixels(shown):
    own = one(shown, "original").images
    square = augmentations_picture.Pictures(1)[0].image[44:556]
    assert (own[0] == cv2.resize(square, own.shape[1:3], interpolation=cv2.INTER_AREA)).all()


def test_erased_rectangles_are_mean_or_noise_and_the_rest_is_the_original(shown):
    original, mean, noise = (
        one(shown, title).images for title in ("original", "random erasing to the m", "random erasing to n")
    )
    changed = (mean != original).any(-1)
    assert changed.mean((1, 2)).min() > 0.02 and changed.mean((1, 2)).max() < 0.34
    assert (mean[changed] == np.rint([123.675, 116.28, 103.53])).all()
    assert (noise[~changed] == original[~changed]).all()
    assert noise[changed].std() > 40


def test_captions_give_the_mixing_shares(shown):
    original = one(shown, "original").images.astype(float)
    for title in ("mixup", "cutmix"):
        own = one(shown, title)
        for number, caption in enumerate(own.captions):
            shares = [int(line.split(" % ")[0]) / 100 for line in caption.splitlines()]
            assert sum(shares) == pytest.approx(1, abs=0.011)
            wanted = shares[0] * original[number].mean() + shares[1] * original[number - 1].mean()
            assert own.images[number].mean() == pytest.approx(wanted, abs=1 if title == "mixup" else 25)


def test_captions_give_the_operations_of_a_policy(shown):
    assert all(caption.count("\n") == 1 for caption in one(shown, "RandAugment").captions)
    original = one(shown, "original").images
    own = one(shown, "TrivialAugment")
    for number, caption in enumerate(own.captions):
        assert (own.images[number] == original[number]).all() == (caption == "identity")


def test_the_picture_of_augmentations_is_a_small_png(tmp_path, shown):
    figure = augmentations_picture.plot_rows(_rows()[:2], list(shown.values())[:2])
    augmentations_picture.save(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert 3 * 144 < picture.width < 3 * 144 + 250 and 2 * 144 < picture.height < 2 * 200
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 100
    assert (tmp_path / "a.png").stat().st_size < 100_000


def test_the_curves_are_those_of_r1_and_of_the_main_recipe():
    """tf_r1: 0.128 for 256 images after 5 epochs, divided by ten at epochs 30, 60 and 80."""
    r1, main = schedules_picture.curve("resnet50_r1"), schedules_picture.curve("resnet50")
    assert np.interp([5.1, 29.9, 30.1, 60.1, 80.1], r1.epochs, r1.rates) == pytest.approx(
        [0.128, 0.128, 0.0128, 0.00128, 0.000128], rel=1e-5
    )
    assert (main.rates.max(), main.length) == (pytest.approx(0.4), pytest.approx(90, abs=0.001))
    assert main.epochs[main.rates.argmax()] == pytest.approx(5, abs=0.001)


def test_every_config_has_a_panel(tmp_path, monkeypatch):
    figures, plot_curves = [], schedules_picture.plot_curves
    monkeypatch.setattr(
        schedules_picture, "plot_curves", lambda curves: figures.append(plot_curves(curves)) or figures[-1]
    )
    names = schedules_picture.config_names()
    assert set(names) == {name for name, _ in recipes()} - {"photos"}  # its schedule depends on the data
    schedules_picture.main(["--out", str(tmp_path / "new" / "s.png")])
    titles = {axes.get_title(loc="left") for axes in figures[0].axes}
    assert titles == {*names, "resnet50 and resnet50_r1"}
    assert 30_000 < (tmp_path / "new" / "s.png").stat().st_size < 600_000


def test_the_drawing_of_the_rooms_is_that_of_the_imports():
    assert rooms_picture.PICTURE.read_text() == rooms_picture.picture(), "run make pictures"


def test_no_arrow_points_upward_and_no_box_is_hidden():
    places, imports = rooms_picture._PLACES, rooms_picture.imports_of_rooms()
    assert places.keys() == imports.keys() - {rooms_picture.LEAVES} and len(set(places.values())) == len(places) <= 12
    for room, imported in imports.items():
        assert all(places[room][1] < places[other][1] for other in imported - {rooms_picture.LEAVES} if room in places)


def test_rooms_that_import_each_other_cannot_be_drawn():
    assert rooms_picture.levels({"a": {"b"}, "b": set()}) == {"a": 1, "b": 0}
    with pytest.raises(ValueError, match="a, b"):
        rooms_picture.levels({"a": {"b"}, "b": {"a"}, "c": set()})


def test_arrows_that_follow_from_others_are_left_out():
    imports = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert rooms_picture.reduced(imports) == {"a": {"b"}, "b": {"c"}, "c": set()}
