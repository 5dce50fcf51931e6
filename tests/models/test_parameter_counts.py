"""Numbers of parameters against published ones."""

import functools

import pytest

from resnet_jax.training.state import parameter_count
from tests.models.networks import CIFAR, RESNET_D, network, shapes_of_variables

# torchvision 0.20 publishes the first five (`weights.meta["num_params"]`); timm 1.0 has all six.
PLAIN = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808, 200: 64_673_832}
# timm 1.0: resnet18d to resnet200d.
DEEP = {18: 11_708_744, 34: 21_816_904, 50: 25_576_264, 101: 44_568_392, 152: 60_212_040, 200: 64_693_064}
# timm 1.0: resnetv2_50, resnetv2_101, resnetv2_152. Keras's ResNet50V2 has 25,568,360 trainable parameters, 19,008
# more: biases of the stem, of the projections and of each block's last convolution.
PREACTIVATION = {50: 25_549_352, 101: 44_541_480, 152: 60_185_128}
# timm 1.0: seresnet50, seresnet101, seresnet152.
SQUEEZING = {50: 28_088_024, 101: 49_326_872, 152: 66_821_848}
# He et al. 2015, table 6, in millions: with shortcuts of option A.
CIFAR_MILLIONS = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}


@functools.cache
def parameters(**options):
    """Returns the shapes of the parameters by block or layer."""
    return shapes_of_variables(network(**options))["params"]


def count(**options):
    return parameter_count(parameters(**options))


def count_from(shallow, *, depth, **options):
    """Counts from a shallower network: all blocks of a stage after the first have the same number of parameters."""
    few, many = (network(depth=number, **options).stage_sizes for number in (shallow, depth))
    blocks = parameters(depth=shallow, **options)
    repeated = [parameter_count(blocks[f"stage{stage}_block2"]) for stage in range(1, len(few) + 1)]
    return parameter_count(blocks) + sum((b - a) * size for a, b, size in zip(few, many, repeated, strict=True))


def depths(published):
    """Returns pairs of a depth and the one to count it from, None to count it directly, which is slow if it is deep."""
    shallow = {depth: 50 if depth > 50 else 18 for depth in published if depth not in (18, 50)}
    direct = [pytest.param(depth, None, marks=[pytest.mark.slow] if depth in shallow else []) for depth in published]
    return [*direct, *shallow.items()]


def counted(depth, shallow, **options):
    return count(depth=depth, **options) if shallow is None else count_from(shallow, depth=depth, **options)


@pytest.mark.parametrize(("depth", "shallow"), depths(PLAIN))
def test_post_activation(depth, shallow):
    assert counted(depth, shallow) == PLAIN[depth]


@pytest.mark.parametrize("depth", [18, pytest.param(34, marks=pytest.mark.slow), 50])
def test_version_1(depth):
    assert count(depth=depth, version="v1") == PLAIN[depth]


@pytest.mark.parametrize(("depth", "shallow"), depths(PLAIN))
def test_pre_activation(depth, shallow):
    # Version 2 has no norm after the stem and in projections, and one more before the head. The first norm of a stage
    # has the channels of the stage before it; in version 1 the last norm of the block has those of its own stage.
    inputs, outputs = (
        ([64, 256, 512, 1024], [256, 512, 1024, 2048]) if depth >= 50 else ([64, 128, 256], [128, 256, 512])
    )
    channels = -64 - sum(outputs) + outputs[-1] + sum(inputs) - sum(outputs)
    assert counted(depth, shallow, version="v2") == PLAIN[depth] + 2 * channels
    assert PREACTIVATION.get(depth, PLAIN[depth] + 2 * channels) == PLAIN[depth] + 2 * channels


@pytest.mark.parametrize(("depth", "shallow"), depths(DEEP))
def test_resnet_d(depth, shallow):
    assert counted(depth, shallow, **RESNET_D) == DEEP[depth]


def test_pre_activation_resnet_d():
    assert count(version="v2", **RESNET_D) == 25_568_584  # timm 1.0: resnetv2_50d


@pytest.mark.parametrize(("depth", "shallow"), depths(SQUEEZING))
def test_squeeze_and_excitation(depth, shallow):
    assert counted(depth, shallow, squeeze_excitation=1 / 16) == SQUEEZING[depth]


def test_options_without_parameters():
    assert count(depth=50, stem="space_to_depth", blur_pool=True, stochastic_depth=0.1) == PLAIN[50]


@pytest.mark.parametrize("shallow", [20, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("depth", CIFAR_MILLIONS)
def test_32_pixel_family(depth, shallow):
    millions = counted(depth, shallow, **CIFAR, shortcut="zero_pad") / 1e6
    assert millions == pytest.approx(CIFAR_MILLIONS[depth], abs=0.03 if depth == 110 else 0.006)


def test_32_pixel_family_with_projections():
    projections = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert count(**CIFAR, depth=20) == count(**CIFAR, depth=20, shortcut="zero_pad") + projections == 272_474
