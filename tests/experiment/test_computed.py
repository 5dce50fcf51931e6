"""Batch size, epochs, learning rate and evaluations that a recipe leaves to the number of images."""

import jax
import pytest

from resnet_jax import experiment
from resnet_jax.errors import UsageError
from resnet_jax.experiment import computed
from tests.tiny import tiny_config

NUMBERS = [1, 10, 200, 1000, 2099, 4000, 10_000, 30_000, 100_000, 1_281_167]


def test_the_batch_is_a_power_of_two_and_at_most_a_tenth_of_200_images_or_more():
    for number in NUMBERS:
        size = computed.batch_size(number)
        assert size in (16, 32, 64, 128, 256)
        assert number < 200 or 10 * size <= number


def test_the_rules_at_a_few_numbers_of_images():
    sizes = [computed.batch_size(number) for number in (300, 2099, 10_000, 100_000)]
    assert sizes == [16, 32, 128, 256]
    assert [computed.epochs(number, pretrained=False) for number in (300, 4000, 100_000)] == [200, 100, 30]
    assert [computed.epochs(number, pretrained=True) for number in (300, 4000, 100_000)] == [50, 25, 8]
    assert computed.epochs_between_evaluations(200) == 5 and computed.epochs_between_evaluations(10) == 1


def test_more_images_are_never_trained_on_in_fewer_images_or_more_epochs():
    epochs = [computed.epochs(number, pretrained=False) for number in NUMBERS]
    assert epochs == sorted(epochs, reverse=True)
    seen = [count * number for count, number in zip(epochs, NUMBERS, strict=True)]
    assert seen == sorted(seen)


def test_given_values_are_kept_and_the_config_is_not_changed():
    config = tiny_config({"train.epochs": None})
    complete, line = computed.with_computed(config, 1000)
    assert config.train.epochs is None
    assert complete.train.epochs == 200 and complete.data.batch_size == config.data.batch_size
    assert line == "train.epochs=200 for 1,000 training images"
    again, line = computed.with_computed(complete, 1000)
    assert line == "" and again.to_dict() == complete.to_dict()


def test_evaluations_follow_the_length_of_the_run():
    config = tiny_config({"eval.every_epochs": None, "data.batch_size": 10, "train.total_steps": 8000})
    assert computed.with_computed(config, 1000)[0].eval.every_epochs == 2


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_rate_of_a_step_grows_with_the_square_root_of_the_batch_size(pretrained):
    rates = [computed.base_lr(size, pretrained=pretrained) * size / 256 for size in (16, 64, 256)]
    assert rates == pytest.approx([rates[0], 2 * rates[0], 4 * rates[0]])


def test_the_computed_rate_follows_the_computed_batch_size_and_the_unit_of_the_schedule():
    keys = {"data.batch_size": None, "schedule.base_lr": None, "schedule.base_batch_size": 128}
    complete, line = computed.with_computed(tiny_config(keys), 1000)
    assert complete.data.batch_size == 16
    assert complete.schedule.base_lr * 16 / 128 == pytest.approx(0.05)
    assert "schedule.base_lr=0.4 " in line


def test_a_rate_is_computed_for_sgd_only():
    config = tiny_config({"schedule.base_lr": None, "optimizer.name": "adamw"})
    with pytest.raises(UsageError, match=r"config.schedule.base_lr=None: .* 'sgd' only.*--config.schedule.base_lr="):
        computed.with_computed(config, 1000)


def test_a_run_is_built_with_the_computed_values():
    keys = ["data.batch_size", "model.bn_group_size", "train.epochs", "eval.every_epochs", "schedule.base_lr"]
    config = tiny_config(dict.fromkeys(keys))
    built = experiment.build(config, devices=jax.devices()[:1])
    number = len(built.data.train_loader.source)
    size, epochs = computed.batch_size(number), computed.epochs(number, pretrained=False)
    assert built.data.train_loader.batch_size == size
    assert built.milestones.total_steps == round(epochs * number / size)
    assert built.reporting.description["computed"].startswith(f"data.batch_size={size}, train.epochs={epochs:g}, ")


def test_an_evaluation_needs_no_batch_size():
    config = tiny_config({"data.batch_size": None, "model.bn_group_size": None})
    built = experiment.build_evaluation(config, devices=jax.devices()[:1])
    assert built.data.eval_loader.batch_size == min(computed.EVAL_BATCH_SIZE, len(built.data.eval_loader.source))
    assert built.description["model"].endswith("batch norm over the whole batch")
