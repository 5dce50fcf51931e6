"""FusedConvNorm trains as a convolution and a batch norm do."""

import jax
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.feed import device_batches
from resnet_jax.experiment.compile import compile_train_step, initial_state
from resnet_jax.models.fused_conv_norm import FusedConvNorm
from resnet_jax.models.variants import IMAGENET_STAGES
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


def plain_form(module, x):
    return module.norm(module.conv(x))


def losses(dtype):
    built = experiment.build(tiny_config(BOTTLENECKS | {"model.dtype": dtype}), devices=jax.devices()[:1])
    state, step, found = initial_state(built), compile_train_step(built, BOTTLENECKS["data.image_size"]), []
    batches = (built.data.train_loader.batch(number).batch for number in range(STEPS))
    for batch in device_batches(batches, mesh=built.computation.mesh):
        state, totals = step(state, batch)
        found.append(float(totals.examples.loss) / 32)
    return np.asarray(found)


@pytest.mark.slow
def test_the_fused_form_has_the_loss_curve_of_the_plain_form(monkeypatch):
    monkeypatch.setitem(IMAGENET_STAGES, 50, ("bottleneck", (1, 2, 1, 1)))
    fused, fused_rounded = losses("float32"), losses("bfloat16")
    with monkeypatch.context() as patch:
        patch.setattr(FusedConvNorm, "_fused", plain_form)
        plain, plain_rounded = losses("float32"), losses("bfloat16")
    assert np.ptp(plain) > 0.1  # the loss changes, so that the comparison is not trivial
    np.testing.assert_allclose(fused, plain, rtol=1e-3)
    # In bfloat16 the two forms round differently: the fused form must be about as close to float32 as the plain form.
    assert np.abs(fused_rounded - plain).mean() < 1.5 * np.abs(plain_rounded - plain).mean()
