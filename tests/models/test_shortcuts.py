import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.networks import outputs, random_variables, shapes_of_outputs, shapes_of_variables, tiny

BOTH = {"shortcut_conv", "shortcut_bn"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"depth": 18}, {"stage2_block1": BOTH}),
        ({"depth": 50}, {"stage1_block1": BOTH, "stage2_block1": BOTH}),
        ({"depth": 18, "shortcut": "stage_projection"}, {"stage1_block1": BOTH, "stage2_block1": BOTH}),
        ({"depth": 50, "shortcut": "stage_projection"}, {"stage1_block1": BOTH, "stage2_block1": BOTH}),
        ({"depth": 18, "shortcut": "average_pool"}, {"stage2_block1": BOTH}),
        ({"depth": 50, "shortcut": "zero_pad"}, {}),
        ({"depth": 18, "version": "v2"}, {"stage2_block1": {"shortcut_conv"}}),
    ],
)
def test_which_blocks_project(changes, expected):
    params = shapes_of_variables(tiny((2, 1), **changes))["params"]
    blocks = {name: {layer for layer in params[name] if layer.startswith("shortcut")} for name in params}
    assert {name: layers for name, layers in blocks.items() if layers} == expected


def shortcut_of_the_second_stage(shortcut, size):
    """Input and output of a block whose branch is zero, and the kernel of its projection."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, size, size, 3)), jnp.float32)
    model = tiny((1, 1), depth=18, shortcut=shortcut)
    variables = random_variables(model, x)
    variables["params"]["stage2_block1"]["bn2"]["scale"][:] = 0
    made = outputs(model, variables, x)
    kernel = variables["params"]["stage2_block1"].get("shortcut_conv", {}).get("kernel")
    return made["stage1_block1"]["__call__"], made["stage2_block1"]["__call__"], kernel


NORM = 1 / np.sqrt(1 + 1e-5)
SIZES = [32, pytest.param(36, marks=pytest.mark.slow)]  # the block gets 8 and 9 pixels


@pytest.mark.parametrize("size", SIZES)
def test_a_projection_is_a_strided_convolution_and_a_norm(size):
    x, got, kernel = shortcut_of_the_second_stage("projection", size)
    np.testing.assert_allclose(got, np.maximum(x[:, ::2, ::2] @ kernel[0, 0] * NORM, 0), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_zero_padding_adds_channels_of_zeros_to_every_other_pixel(size):
    x, got, _ = shortcut_of_the_second_stage("zero_pad", size)
    np.testing.assert_array_equal(got[..., :4], x[:, ::2, ::2])
    assert got.shape[-1] == 8 and not got[..., 4:].any()


@pytest.mark.parametrize("size", [32, 36])
def test_an_average_pool_leaves_out_pixels_beyond_the_border(size):
    x, got, kernel = shortcut_of_the_second_stage("average_pool", size)
    odd = x.shape[1] % 2
    padded = jnp.pad(x, ((0, 0), (0, odd), (0, odd), (0, 0)), constant_values=jnp.nan)
    squares = padded.reshape(2, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2, 4)
    np.testing.assert_allclose(got, np.maximum(jnp.nanmean(squares, (2, 4)) @ kernel[0, 0] * NORM, 0), atol=1e-5)


@pytest.mark.parametrize(("version", "expected"), [("v1", (8, 8, 8)), ("v1.5", (16, 8, 8)), ("v2", (16, 8, 8))])
def test_where_a_bottleneck_strides(version, expected):
    block = shapes_of_outputs(tiny((1, 1), version=version), 64)["stage2_block1"]
    last = "conv3" if version == "v2" else "FusedConvNorm_0"
    assert tuple(block[name]["__call__"].shape[1] for name in ("conv1", "conv2", last)) == expected


def test_version_2_projects_the_activated_input_and_keeps_the_input_elsewhere():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)
    model = tiny((1, 2), depth=18, version="v2")
    variables = random_variables(model, x)
    for block in variables["params"].values():
        if "conv2" in block:  # zero the last convolution of the branch: the block returns its shortcut
            block["conv2"]["kernel"] = jnp.zeros_like(block["conv2"]["kernel"])
    made = outputs(model, variables, x)
    first, second, third = (made[name]["__call__"] for name in ("stage1_block1", "stage2_block1", "stage2_block2"))
    assert (first < 0).any()  # no ReLU at the end of a block
    activated = np.maximum(first / np.sqrt(1 + 1e-5), 0)
    kernel = variables["params"]["stage2_block1"]["shortcut_conv"]["kernel"]
    np.testing.assert_allclose(second, activated[:, ::2, ::2] @ kernel[0, 0], atol=1e-5)
    np.testing.assert_array_equal(third, second)
