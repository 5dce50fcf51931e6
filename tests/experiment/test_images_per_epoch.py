"""The key by which the learning rate counts epochs as r1 does, whatever the data hold."""

import numpy as np
import pytest

from resnet_jax.configs import cifar10_r1, resnet50_r1
from resnet_jax.experiment.milestones import make_milestones, schedule_options
from resnet_jax.training.schedules import create_schedule


def rates(config, num_examples, steps):
    schedule = create_schedule(**schedule_options(config, make_milestones(config, num_examples)))
    return [float(schedule(step)) for step in steps]


def test_the_rates_of_r1_on_1024_images():
    config = resnet50_r1.get_config()
    config.data.batch_size = 32
    config.schedule.images_per_epoch = 1_281_167
    # r1 itself, run on 1,024 images, has the rate 1.28e-5 at step 160.
    rate = 0.128 * 32 / 256
    np.testing.assert_allclose(rates(config, 1024, [160]), [rate * 160 / 200_182], rtol=1e-6)
    assert rates(config, 1024, [160])[0] == pytest.approx(1.28e-5, rel=2e-3)
    config.schedule.images_per_epoch = None
    assert rates(config, 1024, [160]) == [pytest.approx(rate)]


@pytest.mark.parametrize("num_examples", [1024, 50_000])
def test_the_boundaries_of_r1_on_any_number_of_images(num_examples):
    config = cifar10_r1.get_config()
    config.schedule.images_per_epoch = 50_000
    steps = [0, 35_546, 35_547, 53_125, 53_126, 71_093, 71_094]
    np.testing.assert_allclose(rates(config, num_examples, steps), [0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4], rtol=1e-6)


def test_length_and_evaluations_follow_the_data():
    config = cifar10_r1.get_config()
    without = make_milestones(config, 1280)
    config.schedule.images_per_epoch = 50_000
    assert make_milestones(config, 1280) == without
    assert without.total_steps == 1820
