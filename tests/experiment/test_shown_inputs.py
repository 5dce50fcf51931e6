import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.batch import Batch
from resnet_jax.data.on_device import row_keys
from resnet_jax.experiment.computation import make_train_input_of
from tests.tiny import tiny_config

MIXED = {"mixing.mixup_alpha": 1.0, "input.erasing.probability": 1.0, "data.augment.name": "trivial_augment"}


def whole_batch(config, built, group_size):
    """The pixels, partners and shares of all 48 rows, as the training step computes them."""
    batch = Batch(*map(jnp.asarray, built.data.train_loader.batch(0).batch))
    keys = row_keys(jax.random.fold_in(jax.random.key(config.seed), 0), jnp.arange(48))
    mixed = jax.jit(make_train_input_of(config, group_size=group_size))(keys, batch)
    pixels = np.asarray(mixed.images) * np.asarray(config.input.std) + np.asarray(config.input.mean)
    return pixels.clip(0, 255), np.asarray(mixed.partner), np.asarray(mixed.share)


@pytest.mark.parametrize(
    ("group_size", "rows"), [(6, slice(0, 12)), (16, slice(0, 16)), (24, slice(1, 17)), (None, slice(1, 17))]
)
def test_training_inputs_are_those_of_the_step(group_size, rows):
    config = tiny_config(MIXED | {"model.bn_group_size": group_size, "seed": 3})
    built = experiment.build(config)
    shown, _ = built.show_inputs()
    pixels, partners, shares = whole_batch(config, built, group_size)
    np.testing.assert_allclose(shown.images, pixels[rows], atol=0.51)
    np.testing.assert_array_equal(shown.partners, partners[rows])
    np.testing.assert_allclose(shown.shares, shares[rows], atol=1e-5)
    np.testing.assert_array_equal(shown.labels, built.data.train_loader.batch(0).batch.label[rows])
    assert shown.about == "Training inputs, 12 px: random_resized crop, flip, trivial_augment, erasing 1, mixup 1"


def test_evaluation_inputs_are_evenly_spaced_and_exact():
    built = experiment.build(tiny_config({"data.synthetic.num_eval": 40}))
    _, shown = built.show_inputs()
    batches = [built.data.eval_loader.batch(step).batch for step in range(built.data.eval_loader.num_batches)]
    images, labels = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("image", "label"))
    np.testing.assert_array_equal(shown.images, images[:40:3])
    np.testing.assert_array_equal(shown.labels, labels[:40:3])
    assert shown.about == "Evaluation inputs, 12 px: central crop, 87.5 % of the shorter side"


def test_images_standardized_one_by_one_are_shown_with_one_brightness():
    shown, evaluated = experiment.build(tiny_config({"input.per_image": True})).show_inputs()
    for images in (shown.images, evaluated.images):
        assert np.abs(images.mean(axis=(1, 2, 3)) - 128).max() < 5


@pytest.mark.parametrize(("group", "first"), [(6, 0), (48, 1)])
def test_rows_of_a_step_are_those_that_training_shows(group, first):
    changes = {"mixing.mixup_alpha": 0.4, "input.erasing.probability": 0.5, "model.bn_group_size": group}
    built = experiment.build(tiny_config(changes))
    expected, _ = built.show_inputs()
    rows = list(range(first, first + len(expected.labels)))[::-1]
    shown = built.show_rows(0, built.data.train_loader.batch(0).batch, rows)
    for name in ("labels", "partners"):
        np.testing.assert_array_equal(getattr(expected, name), getattr(shown, name)[::-1])
    np.testing.assert_allclose(expected.shares, shown.shares[::-1], rtol=1e-5)  # other shapes, other rounding
    np.testing.assert_allclose(expected.images.astype(int), shown.images[::-1].astype(int), atol=1)
    previous = [row - 1 if row % group else row + group - 1 for row in rows]
    assert shown.partner_rows.tolist() == previous
    part = shown.of_rows([2, 0])
    np.testing.assert_array_equal(part.images, shown.images[[2, 0]])
    assert part.partner_rows.tolist() == [previous[2], previous[0]]
