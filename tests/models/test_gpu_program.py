"""The training step, compiled for an H100: no sum in an order that differs between runs, few bytes, few kernels."""

import json

import pytest

from tests.analysis.cuda_plugin import needs_cuda_plugin, run_with_plugin
from tests.paths import ROOT

pytestmark = [pytest.mark.slow, needs_cuda_plugin]


def figures(tmp_path, recipe, **changes):
    words = (f"{key.replace('__', '.')}={value}" for key, value in changes.items())
    return json.loads(run_with_plugin(ROOT / "tests" / "models" / "gpu_step.py", tmp_path, recipe, *words))


@pytest.mark.parametrize("shape", [{"model__depth": 18}, {"model__stem": "deep", "model__shortcut": "average_pool"}])
def test_no_variant_adds_floats_atomically(tmp_path, shape):
    found = figures(tmp_path, "resnet50", data__batch_size=16, data__image_size=64, model__bn_group_size=8, **shape)
    assert found["functions"] > 100  # XLA wrote its code to the directory
    assert (found["scatters"], found["atomics"]) == (0, [])


def test_the_main_recipe_on_one_gpu_moves_at_most_290_mb_an_image(tmp_path):
    found = figures(tmp_path, "resnet50", data__batch_size=256)
    assert found["bytes_per_image"] <= 290e6
    assert (found["scatters"], found["atomics"]) == (0, [])


def test_the_main_recipe_on_eight_gpus_has_at_most_1000_kernels_each(tmp_path):
    """A device has one batch norm group of 128 images, as one GPU has in a batch of 128."""
    found = figures(tmp_path, "resnet50", data__batch_size=128)
    assert found["kernels"] <= 1000
    assert (found["scatters"], found["atomics"]) == (0, [])
