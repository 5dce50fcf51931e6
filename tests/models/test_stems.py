import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.models.stems import fold_kernel, space_to_depth, unfold_kernel
from tests.models.networks import initialize, shapes_of_outputs, shapes_of_variables, tiny


def images(height=24, width=20, channels=3):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, height, width, channels)), jnp.float32)


def kernel7(features=5):
    return jnp.asarray(np.random.default_rng(1).normal(size=(7, 7, 3, features)), jnp.float32)


def convolve(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,) * 2, (padding,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def test_the_folded_kernel_on_folded_images_computes_the_7x7_convolution():
    x, kernel = images(), kernel7()
    folded = convolve(space_to_depth(x), fold_kernel(kernel), 1, (2, 1))
    np.testing.assert_allclose(folded, convolve(x, kernel, 2, (3, 3)), atol=1e-4)


def test_folding_is_exact_in_both_directions():
    kernel = kernel7()
    folded = fold_kernel(kernel)
    assert folded.shape == (4, 4, 12, 5)
    np.testing.assert_array_equal(unfold_kernel(folded), kernel)
    np.testing.assert_array_equal(fold_kernel(unfold_kernel(folded)), folded)


@pytest.mark.parametrize("tap", [(0, 0, 0), (0, 2, 4), (3, 0, 7)])
def test_unfolding_a_kernel_that_is_not_7x7_is_an_error(tap):
    row, column, channel = tap
    folded = fold_kernel(kernel7()).at[row, column, channel, 0].set(0.5)
    with pytest.raises(ValueError, match="no 7x7 kernel is equal to it"):
        unfold_kernel(folded)


@pytest.mark.parametrize("padding", ["torch", pytest.param("tf", marks=pytest.mark.slow)])
def test_space_to_depth_is_conv7_in_variables_output_and_gradient(padding):
    conv7, folding = (tiny((1,), depth=18, stem=stem, padding=padding) for stem in ("conv7", "space_to_depth"))
    x = images(32, 48)
    variables = initialize(conv7, x)
    jax.tree.map(np.testing.assert_array_equal, variables, initialize(folding, x))

    @functools.partial(jax.jit, static_argnums=0)
    @functools.partial(jax.grad, argnums=1, has_aux=True)
    def gradient(model, params):
        logits, _ = model.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(logits)), logits

    (grads, logits), (other_grads, other_logits) = (gradient(model, variables["params"]) for model in (conv7, folding))
    np.testing.assert_allclose(other_logits, logits, atol=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * largest), other_grads, grads)


@pytest.mark.parametrize("size", [(33, 32), (32, 33)])
def test_images_of_odd_sides_cannot_be_folded(size):
    model = tiny((1,), stem="space_to_depth")
    with pytest.raises(UsageError, match=f"images of {size[0]} x {size[1]} pixels.* take an even data.image_size"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *size, 3)), train=False))


def test_the_deep_stem_is_that_of_resnet_d():
    model = tiny((1,), stem="deep", features=64)
    variables, outputs = shapes_of_variables(model), shapes_of_outputs(model, 64)
    params = variables["params"]
    kernels = {name: leaves["kernel"].shape for name, leaves in params.items() if name.startswith("stem_conv")}
    assert kernels == {"stem_conv1": (3, 3, 3, 32), "stem_conv2": (3, 3, 32, 32), "stem_conv": (3, 3, 32, 64)}
    sizes = {name: outputs[name]["__call__"].shape[1] for name in [*kernels, "stage1_block1"]}
    assert sizes == {"stem_conv1": 32, "stem_conv2": 32, "stem_conv": 32, "stage1_block1": 16}


def test_the_32_pixel_family_ignores_the_stem_and_has_a_3x3_one():
    for stem in ("conv7", "space_to_depth", "deep"):
        model = tiny(name="resnet_cifar", depth=8, stem=stem)
        assert shapes_of_variables(model, 32)["params"]["stem_conv"]["kernel"].shape == (3, 3, 3, 4)
        assert shapes_of_outputs(model, 32)["stage1_block1"]["__call__"].shape[1] == 32


def test_version_2_has_no_norm_after_the_stem_and_one_before_the_head():
    params = shapes_of_variables(tiny(version="v2"))["params"]
    assert "stem_bn" not in params and params["final_bn"]["scale"].shape == (32,)
    params = shapes_of_variables(tiny())["params"]
    assert "stem_bn" in params and "final_bn" not in params
