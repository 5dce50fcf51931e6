"""The fast forms of the network train as the plain ones do."""

import jax
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.feed import device_batches
from resnet_jax.experiment.compile import compile_train_step, initial_state
from resnet_jax.models.batch_norm import BatchNorm
from resnet_jax.models.layers import pointwise_convolution
from tests.tiny import tiny_config

STEPS = 20
BOTTLENECKS = {
    "data.synthetic.num_train": 64,
    "data.batch_size": 32,
    "data.image_size": 64,
    "model.name": "resnet",
    "model.depth": 50,
    "model.features": 16,
    "model.bn_group_size": None,
    "schedule.warmup_epochs": 5.0,
    "train.total_steps": STEPS,
}


def plain_product(norm, x, kernel, own):
    return norm._normalize_groups(pointwise_convolution(x, kernel), own, None)


def losses(dtype):
    built = experiment.build(tiny_config(BOTTLENECKS | {"model.dtype": dtype}), devices=jax.devices()[:1])
    state, step, found = initial_state(built), compile_train_step(built, BOTTLENECKS["data.image_size"]), []
    batches = (built.train_loader.batch(number).batch for number in range(STEPS))
    for batch in device_batches(batches, mesh=built.mesh):
        state, totals = step(state, batch)
        found.append(float(totals.examples.loss) / 32)
    return np.asarray(found)


@pytest.mark.slow
def test_a_bottleneck_network_learns_alike_with_and_without_its_wide_products(monkeypatch):
    fast, fast_rounded = losses("float32"), losses("bfloat16")
    with monkeypatch.context() as patch:
        patch.setattr(BatchNorm, "_normalize_product", plain_product)
        plain, plain_rounded = losses("float32"), losses("bfloat16")
    assert np.ptp(plain) > 0.1  # the weights move: it is no comparison of what never changes
    np.testing.assert_allclose(fast, plain, rtol=1e-3)
    # In bfloat16 the two forms round differently: each must stay as near to the truth as the other.
    assert np.abs(fast_rounded - plain).mean() < 1.5 * np.abs(plain_rounded - plain).mean()
