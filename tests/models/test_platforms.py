"""Forms that depend on the platform are chosen by the devices of the program, in one file, and compute the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import resnet_jax.models
from resnet_jax.models import platforms
from resnet_jax.models.fused_conv_norm import _convolution, affine_product
from resnet_jax.models.platforms import (
    by_platform,
    computed_together,
    two_sums,
    with_direct_gradient,
    with_ordered_gradient,
)
from tests.models.fused import normal, relative_gap
from tests.paths import ROOT


def lowered(function, platform, *shapes, dtype=jnp.float32):
    """The program of a function, for a platform that need not be at hand."""
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def test_only_one_file_of_the_models_asks_for_the_platform():
    words = ("platform_dependent", "default_backend", ".platform ")
    files = (ROOT / "resnet_jax" / "models").rglob("*.py")
    assert resnet_jax.models is not None
    assert [path.name for path in files if any(word in path.read_text() for word in words)] == ["platforms.py"]


def test_a_platform_that_is_not_named_has_the_form_of_the_others():
    assert by_platform(jnp.ones(3), cuda=lambda x: x + 1, others=lambda x: x)[0] == 1


def test_gpus_sum_pairs_in_one_reduction():
    programs = [lowered(lambda x, y: two_sums(x, y, (0,)), name, (9, 3), (9, 3)) for name in ("cuda", "tpu")]
    assert [program.count("stablehlo.reduce(") for program in programs] == [1, 2]
    x, y = normal(0, 9, 3), normal(1, 9, 3)
    np.testing.assert_allclose(two_sums(x, y, (0,)), (x.sum(0), y.sum(0)), rtol=1e-6)


@pytest.mark.parametrize(("platform", "is_ordered"), [("cuda", True), ("tpu", False), ("cpu", False)])
def test_only_gpus_store_gradients_of_kernels_in_the_order_of_the_parameter(platform, is_ordered):
    program = lowered(jax.grad(lambda kernel: jnp.sum(with_ordered_gradient(kernel) ** 2)), platform, (3, 3, 2, 4))
    assert ("LayoutConstraint" in program) == is_ordered


def as_on_gpus(*arguments, cuda, **others):
    """`by_platform` as if the program were compiled for a GPU."""
    return cuda(*arguments)


@pytest.mark.parametrize("form", [by_platform, as_on_gpus], ids=["here", "as on GPUs"])
def test_both_forms_of_the_gradient_of_a_1x1_kernel_are_the_gradient(form, monkeypatch):
    def plain(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def gradients(convolution):
        result, backward = jax.vjp(convolution, normal(0, 2, 5, 4, 6), normal(1, 1, 1, 6, 3))
        return result, *backward(normal(2, *result.shape))

    monkeypatch.setattr(platforms, "by_platform", form)
    for found, wanted in zip(gradients(with_direct_gradient(plain)), gradients(plain), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_only_gpus_compute_arrays_together():
    programs = [lowered(computed_together, name, (2,), (3,)) for name in ("cuda", "tpu", "cpu")]
    assert [program.count("stablehlo.optimization_barrier") for program in programs] == [1, 0, 0]


@pytest.mark.parametrize(("groups", "convolutions"), [(1, 1), (2, 0)])
def test_on_gpus_the_product_of_one_group_is_a_convolution(groups, convolutions):
    shapes = ((groups, 2, 4, 4, 8), (groups, 8, 16), (groups, 16))
    programs = [lowered(affine_product, name, *shapes, dtype=jnp.bfloat16) for name in ("cuda", "tpu", "cpu")]
    assert [program.count("stablehlo.convolution") for program in programs] == [convolutions, convolutions, 0]


def test_the_convolution_with_a_16_bit_offset_is_as_close_to_float32_as_the_product():
    """cuDNN adds product and offset in float32 and rounds once; the product of other platforms is rounded twice."""
    x, kernels, offsets = jax.nn.relu(normal(0, 1, 8, 5, 5, 6)), normal(1, 1, 6, 24), normal(2, 1, 24)
    exact = affine_product(x.astype(jnp.bfloat16).astype(jnp.float32), kernels.astype(jnp.bfloat16), offsets)
    wide = functools.partial(jnp.asarray, dtype=jnp.float32)
    in_16_bits = x.astype(jnp.bfloat16), kernels.astype(jnp.bfloat16), offsets.astype(jnp.bfloat16)
    as_cudnn = _convolution(wide(in_16_bits[0]), wide(in_16_bits[1])) + wide(in_16_bits[2])
    gaps = [
        relative_gap(wide(found), exact)
        for found in (as_cudnn.astype(jnp.bfloat16), affine_product(x.astype(jnp.bfloat16), kernels, offsets))
    ]
    assert gaps[0] < 1.05 * gaps[1]
