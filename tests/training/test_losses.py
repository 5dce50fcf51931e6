import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.training.losses import (
    binary_cross_entropy,
    create_loss,
    cross_entropy,
    soft_targets,
    softmax_cross_entropy,
)


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
    shares = jax.nn.one_hot(jnp.asarray(labels), 7)
    got = softmax_cross_entropy(jnp.asarray(logits), shares, label_smoothing=smoothing)
    np.testing.assert_allclose(got, -(target * log_p).sum(-1), rtol=1e-5)


def test_half_precision_logits_are_summed_in_float32():
    losses = cross_entropy(jnp.zeros((1, 1000), jnp.bfloat16), jnp.array([0]))
    assert losses.dtype == jnp.float32
    np.testing.assert_allclose(losses, math.log(1000), rtol=1e-6)


def test_the_loss_of_an_unreadable_image_is_that_of_a_uniform_prediction():
    losses = cross_entropy(10 * jnp.eye(4), jnp.array([UNREADABLE, 1, UNREADABLE, 0]))
    np.testing.assert_allclose(losses[jnp.array([0, 2])], math.log(4), rtol=1e-6)
    assert losses[1] < 0.01 and losses[3] > 9


def test_the_binary_loss_is_the_mean_of_the_sigmoid_cross_entropies():
    logits, shares = jnp.array([[2.0, -1.0, 0.5]]), jnp.array([[0.7, 0.3, 0.0]])
    p = 1 / (1 + np.exp(-np.array(logits[0])))
    expected = -np.mean(np.array(shares[0]) * np.log(p) + (1 - np.array(shares[0])) * np.log(1 - p))
    got = binary_cross_entropy(logits, shares, label_smoothing=0.0, target_threshold=None)
    np.testing.assert_allclose(got, [expected], rtol=1e-6)


@pytest.mark.parametrize(("threshold", "targets"), [(0.2, [1.0, 1.0, 0.0]), (0.5, [1.0, 0.0, 0.0])])
def test_targets_above_the_threshold_become_one(threshold, targets):
    logits, shares = jnp.array([[2.0, -1.0, 0.5]]), jnp.array([[0.7, 0.3, 0.0]])
    got = binary_cross_entropy(logits, shares, label_smoothing=0.1, target_threshold=threshold)
    np.testing.assert_allclose(got, [optax.sigmoid_binary_cross_entropy(logits[0], jnp.array(targets)).mean()])


def test_soft_targets_sum_to_one():
    shares = soft_targets(jnp.array([1, 2, 0]), jnp.array([0, 2, 1]), jnp.array([0.25, 0.4, 1.0]), 3)
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [0, 0, 1], [1, 0, 0]], rtol=1e-6)


def test_losses_by_name():
    logits, shares = jax.random.normal(jax.random.key(0), (4, 5)), jax.nn.one_hot(jnp.arange(4), 5)
    softmax = create_loss("cross_entropy", label_smoothing=0.1, target_threshold=None)
    np.testing.assert_array_equal(softmax(logits, shares), softmax_cross_entropy(logits, shares, label_smoothing=0.1))
    binary = create_loss("binary_cross_entropy", label_smoothing=0.1, target_threshold=0.2)
    assert binary(logits, shares).shape == (4,)
