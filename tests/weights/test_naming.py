"""Translation between our names and layouts and those of PyTorch."""

import jax
import numpy as np
import pytest

from resnet_jax.nested import by_path
from resnet_jax.weights.naming import Naming, to_our_layout, to_torch_layout
from tests.models.networks import CIFAR, RESNET_D, network, shapes_of_variables

PLAIN = Naming(deep_stem=False, pooled_shortcut=False)
TIMM = Naming(deep_stem=True, pooled_shortcut=True)
NETWORKS = {
    "18": ({"depth": 18}, PLAIN),
    "50": ({}, PLAIN),
    "20": (CIFAR | {"depth": 20, "shortcut": "stage_projection"}, PLAIN),
    "50d with squeeze": (RESNET_D | {"squeeze_excitation": 0.25}, TIMM),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_names_survive_both_translations(name):
    changes, naming = NETWORKS[name]
    ours = list(by_path(shapes_of_variables(network(**changes), 32)))
    theirs = [naming.to_torch(name) for name in ours]
    assert len(set(theirs)) == len(ours)
    assert [naming.to_ours(name) for name in theirs] == ours
    assert Naming.of_torch(theirs) == naming


# Names in torchvision's resnet50, and in timm's resnet50d and seresnet50.
@pytest.mark.parametrize(
    ("naming", "ours", "theirs"),
    [
        (PLAIN, "params/stem_conv/kernel", "conv1.weight"),
        (PLAIN, "batch_stats/stem_bn/var", "bn1.running_var"),
        (PLAIN, "params/stage4_block3/conv3/kernel", "layer4.2.conv3.weight"),
        (PLAIN, "params/stage1_block1/bn2/scale", "layer1.0.bn2.weight"),
        (PLAIN, "params/stage2_block1/shortcut_conv/kernel", "layer2.0.downsample.0.weight"),
        (PLAIN, "params/stage2_block1/shortcut_bn/bias", "layer2.0.downsample.1.bias"),
        (PLAIN, "params/head/kernel", "fc.weight"),
        (PLAIN, "params/stage3_block2/se_reduce/bias", "layer3.1.se.fc1.bias"),
        (PLAIN, "params/stage3_block2/se_expand/kernel", "layer3.1.se.fc2.weight"),
        (TIMM, "params/stem_conv2/kernel", "conv1.3.weight"),
        (TIMM, "batch_stats/stem_bn2/mean", "conv1.4.running_mean"),
        (TIMM, "params/stem_conv/kernel", "conv1.6.weight"),
        (TIMM, "params/stage2_block1/shortcut_conv/kernel", "layer2.0.downsample.1.weight"),
        (TIMM, "params/stage2_block1/shortcut_bn/scale", "layer2.0.downsample.2.weight"),
    ],
)
def test_names_are_those_of_torchvision_and_timm(naming, ours, theirs):
    assert naming.to_torch(ours) == theirs and naming.to_ours(theirs) == ours


@pytest.mark.parametrize("name", ["maxpool.0.weight", "layer1.0.se.conv.weight", "fc.running_mean", "conv1.6.weight"])
def test_unknown_names_give_none(name):
    assert PLAIN.to_ours(name) is None


@pytest.mark.parametrize("shape", [(5, 4, 3, 2), (4, 3), (3,)])
def test_layouts_survive_both_translations(shape):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ours = to_our_layout(array)
    assert ours.shape == {4: (3, 2, 4, 5), 2: (3, 4), 1: (3,)}[len(shape)]
    np.testing.assert_array_equal(to_torch_layout(ours), array)
    if len(shape) == 4:
        assert ours[2, 1, 3, 4] == array[4, 3, 2, 1]


def test_the_tree_is_kept():
    variables = shapes_of_variables(network(depth=18), 32)
    assert len(by_path(variables)) == len(jax.tree.leaves(variables)) == 102
