import math

import numpy as np
import pytest

from resnet_jax import schedules
from resnet_jax.errors import UsageError


def test_warmup_is_linear_and_the_cosine_ends_at_zero():
    lr = schedules.warmup_cosine(peak_lr=0.4, warmup_steps=10, total_steps=110)
    assert float(lr(0)) == 0.0
    np.testing.assert_allclose([lr(1), lr(5), lr(10)], [0.04, 0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(lr(60), 0.2, rtol=1e-6)  # half of the cosine
    np.testing.assert_allclose(lr(35), 0.4 * (1 + math.cos(math.pi / 4)) / 2, rtol=1e-6)
    np.testing.assert_allclose(lr(110), 0.0, atol=1e-8)


def test_without_warmup_it_starts_at_the_peak():
    assert float(schedules.warmup_cosine(peak_lr=0.4, warmup_steps=0, total_steps=10)(0)) == pytest.approx(0.4)


def test_a_run_shorter_than_its_warmup_stays_in_it():
    lr = schedules.warmup_cosine(peak_lr=1.0, warmup_steps=1000, total_steps=2)
    np.testing.assert_allclose([lr(0), lr(1)], [0.0, 0.001], rtol=1e-6)


def test_unknown_name():
    with pytest.raises(UsageError, match=r"schedule.name='step' is not one of warmup_cosine"):
        schedules.create_schedule("step")
