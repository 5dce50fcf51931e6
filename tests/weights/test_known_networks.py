import pytest

from resnet_jax.experiment.network import network_settings
from resnet_jax.weights import pytorch_network
from tests.tiny import tiny_config

RESNET = {"model.name": "resnet", "model.features": 64, "model.bn_group_size": None}


def same_as(**changes):
    return pytorch_network(network_settings(tiny_config(RESNET | {f"model.{key}": v for key, v in changes.items()})))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"depth": 18}, "torchvision's resnet18"),
        ({"depth": 50}, "torchvision's resnet50"),
        ({"depth": 50, "stem": "space_to_depth"}, "torchvision's resnet50"),
        ({"depth": 50, "shortcut": "stage_projection"}, "torchvision's resnet50"),
        ({"depth": 18, "shortcut": "stage_projection"}, None),  # stage 1 has a projection
        ({"depth": 200}, "timm's resnet200"),
        ({"depth": 50, "stem": "deep", "shortcut": "average_pool"}, "timm's resnet50d"),
        ({"depth": 50, "stem": "deep"}, None),
        ({"depth": 50, "shortcut": "average_pool"}, None),
        ({"depth": 50, "squeeze_excitation": 0.0625}, "timm's seresnet50"),
        ({"depth": 50, "squeeze_excitation": 0.25}, None),
        ({"depth": 50, "version": "v1"}, None),
        ({"depth": 50, "features": 32}, None),
        ({"depth": 50, "padding": "tf"}, None),
        ({"depth": 50, "blur_pool": True}, None),
        ({"depth": 8, "name": "resnet_cifar", "features": 16}, None),
        ({"depth": 56, "name": "resnet_cifar", "features": 16}, None),
    ],
)
def test_only_networks_that_torchvision_or_timm_have_are_called_theirs(changes, expected):
    assert same_as(**changes) == expected
