import math

import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.batch import UNREADABLE
from resnet_jax.losses import cross_entropy


def test_uniform_logits_cost_log_k():
    losses = cross_entropy(jnp.zeros((2, 10)), jnp.array([3, 7]))
    np.testing.assert_allclose(losses, math.log(10), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_agrees_with_the_definition(smoothing):
    logits = np.random.default_rng(0).normal(size=(5, 7))
    labels = np.array([0, 6, 3, 3, 1])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = np.full((5, 7), smoothing / 7)
    target[np.arange(5), labels] += 1 - smoothing
    got = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), label_smoothing=smoothing)
    np.testing.assert_allclose(got, -(target * log_p).sum(-1), rtol=1e-5)


def test_half_precision_logits_are_summed_in_float32():
    losses = cross_entropy(jnp.zeros((1, 1000), jnp.bfloat16), jnp.array([0]))
    assert losses.dtype == jnp.float32
    np.testing.assert_allclose(losses, math.log(1000), rtol=1e-6)


def test_an_unreadable_image_costs_what_a_guess_costs():
    losses = cross_entropy(10 * jnp.eye(4), jnp.array([UNREADABLE, 1, UNREADABLE, 0]))
    np.testing.assert_allclose(losses[jnp.array([0, 2])], math.log(4), rtol=1e-6)
    assert losses[1] < 0.01 and losses[3] > 9
