import jax
import jax.numpy as jnp
import pytest

from resnet_jax.analysis.model_flops import model_flops
from resnet_jax.analysis.roofline import PEAKS, Peaks
from resnet_jax.analysis.step_cost import step_flops
from resnet_jax.experiment import build
from resnet_jax.models import create_model
from tests.tiny import tiny_config

OPTIONS = {
    "name": "resnet",
    "depth": 18,
    "version": "v1.5",
    "dtype": "bfloat16",
    "stem": "conv7",
    "features": 64,
    "num_classes": 1000,
    "padding": "torch",
    "shortcut": "projection",
    "blur_pool": False,
    "squeeze_excitation": 0.0,
    "stochastic_depth": 0.0,
    "bn_group_size": None,
    "bn_momentum": 0.9,
    "bn_epsilon": 1e-5,
    "zero_init_last_bn": True,
    "kernel_init": "he",
    "head_init": "normal",
}
STEM = 112 * 112 * 64 * 7 * 7 * 3  # multiply-accumulates
HEAD = 512 * 1000


def macs(trainable="", **changes):
    """Multiply-accumulates that training takes for one image of 224 pixels."""
    model = create_model(**OPTIONS | changes)
    image = jnp.zeros((1, 32, 32, 3))  # the shapes of the variables do not depend on the size
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    return model_flops(model, variables, 224, trainable=trainable) / 2


# Published GMACs of a forward pass, by torchvision's `GFLOPS` of resnet18 and resnet50, which are v1.5.
@pytest.mark.parametrize(("depth", "published"), [(18, 1.81), (50, 4.09)])
def test_training_takes_three_times_the_published_forward_pass(depth, published):
    assert macs(depth=depth) / 3e9 == pytest.approx(published, abs=0.005)


def test_the_folded_stem_counts_like_the_plain_one():
    assert macs(stem="space_to_depth", bn_group_size=4) == macs()


def test_frozen_layers_need_no_gradient_of_their_kernels():
    forward = macs() / 3
    assert macs("^head/") == forward + 2 * HEAD  # nothing goes back through the layers before
    assert macs("^stem_conv/") == 2 * forward + STEM  # the gradient goes back through all layers
    assert macs("stem_bn") == 2 * forward - STEM


class Compiled:
    """A compiled program of which XLA counts 100 FLOPs."""

    def cost_analysis(self):
        return {"flops": 100.0}


def test_a_step_has_the_flops_of_the_model_and_those_of_the_program(monkeypatch):
    experiment = build(tiny_config({"train.accumulate": 2, "model.bn_group_size": 3}))
    assert step_flops(experiment, Compiled(), 12) == (0.0, 0.0)  # CPUs are not in PEAKS
    monkeypatch.setitem(PEAKS, "cpu", Peaks(1e12, 1e11, 1e10, 1e9, None))
    computation = experiment.computation
    per_image = model_flops(computation.model, computation.shapes, 12, trainable="")
    assert step_flops(experiment, Compiled(), 12) == (per_image * 48 / 8, 2 * 100.0)
