import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models.layers import convolution, low_pass
from tests.models.networks import shapes_of_outputs, tiny

FILTER = np.outer([1, 2, 1], [1, 2, 1]) / 16


def images(size=8, channels=5):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, size, size, channels)), jnp.float32)


def test_the_filter_is_the_binomial_filter_of_zhang_2019():
    impulse = jnp.zeros((1, 5, 5, 2)).at[0, 2, 2, 1].set(1.0)
    filtered = low_pass(impulse)
    np.testing.assert_allclose(filtered[0, 1:4, 1:4, 1], FILTER, rtol=1e-6)
    assert filtered.sum() == 1 and not filtered[..., 0].any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_constant_image_is_unchanged_except_at_the_border(dtype):
    filtered = low_pass(jnp.full((1, 6, 7, 3), 0.3, dtype))
    assert filtered.dtype == dtype
    np.testing.assert_array_equal(filtered[:, 1:-1, 1:-1], jnp.full((1, 4, 5, 3), 0.3, dtype))
    np.testing.assert_allclose(np.float32(filtered[0, 0, 0]), 0.3 * 9 / 16, rtol=1e-2)  # zeros around the image


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("size", [8, 9])
def test_a_blurred_convolution_is_the_convolution_of_the_blurred_image(kernel_size, size):
    # As `BlurPoolConv2d` of FFCV: blur with stride 1, then the strided convolution; the same parameters.
    x = images(size)
    plain, blurred = (convolution(4, kernel_size, 2, blur=blur, name="conv") for blur in (False, True))
    variables = plain.init(jax.random.key(0), x)
    depthwise = jax.lax.conv_general_dilated(
        x,
        jnp.broadcast_to(jnp.asarray(FILTER, jnp.float32)[..., None, None], (3, 3, 1, 5)),
        (1, 1),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=5,
    )
    np.testing.assert_allclose(blurred.apply(variables, x), plain.apply(variables, depthwise), atol=1e-5)
    assert type(convolution(4, kernel_size, 1, blur=True, name="conv")) is nn.Conv


def test_only_strided_convolutions_of_blocks_are_blurred():
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    model = tiny(stage_sizes=(2, 2, 1), blur_pool=True)
    calls = set()

    def record(next_function, arguments, options, context):
        if type(context.module) is not nn.Conv and isinstance(context.module, nn.Conv):
            calls.add("/".join(context.module.path))
        return next_function(*arguments, **options)

    with nn.intercept_methods(record):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    assert calls == {f"stage{stage}_block1/{conv}" for stage in (2, 3) for conv in ("conv2", "shortcut_conv")}


@pytest.mark.parametrize("size", [32, 33, 40])
@pytest.mark.parametrize("changes", [{}, {"blur_pool": True}])
def test_feature_sizes_are_those_of_symmetric_padding(size, changes):
    # PyTorch's rule: out = floor((in + 2 pad - kernel) / stride) + 1.
    outputs = shapes_of_outputs(tiny(depth=18, **changes), size)
    after_stem = (size + 6 - 7) // 2 + 1
    after_pool = (after_stem + 2 - 3) // 2 + 1
    assert outputs["stem_conv"]["__call__"].shape[1] == after_stem
    assert outputs["stage1_block1"]["__call__"].shape[1] == after_pool
    assert outputs["stage2_block1"]["__call__"].shape[1] == (after_pool + 2 - 3) // 2 + 1
