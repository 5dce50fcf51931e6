"""The evaluation step with mirror images, and with some of the outputs; the network is one matrix."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.data.batch import Batch
from resnet_jax.training.steps import EvalStep


class Linear(nn.Module):
    """Logits [B, K], a matrix times the pixels."""

    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(6)(images.reshape(len(images), -1))


def evaluated(images, label, **options):
    """Returns totals, answers, and the probabilities that the network gives to the images: [B, K]."""
    rng = np.random.default_rng(0)
    model, matrix = Linear(), rng.normal(0, 1, (images[0].size, 6)).astype(np.float32)
    variables = {"params": {"Dense_0": {"kernel": matrix, "bias": np.zeros(6, np.float32)}}}
    step = EvalStep(model, preprocess=lambda pixels: pixels.astype(jnp.float32) / 255, **options)
    batch = Batch(images, np.asarray(label, np.int32), np.ones(len(label), bool))
    totals, answers = jax.device_get(jax.jit(step.with_answers)(variables, batch))
    powers = np.exp((images / 255.0).reshape(len(images), -1) @ matrix.astype(np.float64))
    return totals, answers, powers / powers.sum(axis=1, keepdims=True)


IMAGES = np.random.default_rng(1).integers(256, size=(8, 3, 4, 3), dtype=np.uint8)
LABEL = [0, 1, 2, 3, 0, 1, 2, 3]


def test_mirror_images_average_the_probabilities():
    totals, answers, own = evaluated(IMAGES, LABEL, flip=True)
    _, _, mirrored = evaluated(IMAGES[:, :, ::-1], LABEL)
    mean = (own + mirrored) / 2
    assert answers.predicted.tolist() == mean.argmax(axis=1).tolist() != own.argmax(axis=1).tolist()
    np.testing.assert_allclose(np.exp(answers.scores.log_probability[:, 0]), mean.max(axis=1), rtol=1e-5)
    assert totals.loss == pytest.approx(-np.log(mean[np.arange(8), LABEL]).sum(), rel=1e-5)


def test_only_the_compared_outputs_can_be_predicted_and_have_probability():
    totals, answers, own = evaluated(IMAGES, LABEL, num_compared=4)
    among = own[:, :4] / own[:, :4].sum(axis=1, keepdims=True)
    assert answers.predicted.tolist() == among.argmax(axis=1).tolist() and own.argmax(axis=1).max() > 3
    assert answers.scores.top.shape == (8, 4)
    assert totals.loss == pytest.approx(-np.log(among[np.arange(8), LABEL]).sum(), rel=1e-5)
