import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.models import create_model
from resnet_jax.state import parameter_count


def model(name="resnet_cifar", depth=8, features=8, *, num_classes=10, dtype="float32", zero_init_last_bn=True):
    return create_model(
        name=name,
        depth=depth,
        features=features,
        num_classes=num_classes,
        dtype=dtype,
        bn_group_size=None,
        bn_momentum=0.9,
        bn_epsilon=1e-5,
        zero_init_last_bn=zero_init_last_bn,
    )


def abstract_variables(network, size):
    return jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False))


# torchvision 0.20 publishes the first five (`weights.meta["num_params"]`), timm resnet200 the sixth; the 32-pixel
# family has 0.27, 0.86 and 1.7 M (He et al. 2015, table 6), here with 1x1 projections in stages 2 and 3.
@pytest.mark.parametrize(
    ("name", "depth", "features", "num_classes", "expected"),
    [
        ("resnet", 18, 64, 1000, 11_689_512),
        ("resnet", 34, 64, 1000, 21_797_672),
        ("resnet", 50, 64, 1000, 25_557_032),
        ("resnet", 101, 64, 1000, 44_549_160),
        ("resnet", 152, 64, 1000, 60_192_808),
        ("resnet", 200, 64, 1000, 64_673_832),
        ("resnet_cifar", 20, 16, 10, 269_722 + 16 * 32 + 32 * 64 + 2 * (32 + 64)),
        ("resnet_cifar", 56, 16, 10, 853_018 + 16 * 32 + 32 * 64 + 2 * (32 + 64)),
        ("resnet_cifar", 110, 16, 10, 1_727_962 + 16 * 32 + 32 * 64 + 2 * (32 + 64)),
    ],
)
def test_parameter_counts(name, depth, features, num_classes, expected):
    network = model(name, depth, features, num_classes=num_classes)
    size = 224 if name == "resnet" else 32
    assert parameter_count(abstract_variables(network, size)["params"]) == expected


def test_the_stride_is_on_the_3x3_convolution():
    variables = abstract_variables(model("resnet", 50, 64), 64)
    _, shapes = jax.eval_shape(
        lambda v: model("resnet", 50, 64).apply(v, jnp.zeros((1, 64, 64, 3)), train=False, capture_intermediates=True),
        variables,
    )
    block = shapes["intermediates"]["stage2_block1"]
    assert block["conv1"]["__call__"][0].shape == (1, 16, 16, 128)
    assert block["conv2"]["__call__"][0].shape == (1, 8, 8, 128)


@pytest.mark.parametrize("size", [32, 33, 40])
def test_feature_sizes_are_those_of_symmetric_padding(size):
    # PyTorch's rule: out = floor((in + 2 pad - kernel) / stride) + 1.
    variables = abstract_variables(model("resnet", 18, 8), size)
    _, shapes = jax.eval_shape(
        lambda v: model("resnet", 18, 8).apply(
            v, jnp.zeros((1, size, size, 3)), train=False, capture_intermediates=True
        ),
        variables,
    )
    after_stem = (size + 6 - 7) // 2 + 1
    after_pool = (after_stem + 2 - 3) // 2 + 1
    assert shapes["intermediates"]["stem_conv"]["__call__"][0].shape[1] == after_stem
    assert shapes["intermediates"]["stage1_block1"]["__call__"][0].shape[1] == after_pool
    assert shapes["intermediates"]["stage2_block1"]["__call__"][0].shape[1] == (after_pool + 2 - 3) // 2 + 1


def test_zero_init_makes_every_block_without_projection_the_identity():
    network = model("resnet_cifar", 14, 4)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    variables = network.init(jax.random.key(0), x, train=False)
    _, state = network.apply(variables, x, train=False, capture_intermediates=True, mutable=["intermediates"])
    blocks = state["intermediates"]
    np.testing.assert_array_equal(blocks["stage1_block2"]["__call__"][0], blocks["stage1_block1"]["__call__"][0])


def test_bfloat16_computes_in_bfloat16_but_keeps_parameters_statistics_and_logits_float32():
    network = model(dtype="bfloat16")
    variables = abstract_variables(network, 16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits, state = jax.eval_shape(
        lambda v: network.apply(v, jnp.zeros((2, 16, 16, 3)), train=False, capture_intermediates=True), variables
    )
    assert logits.dtype == jnp.float32
    assert state["intermediates"]["stage3_block1"]["__call__"][0].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 51}, "model.depth=51 is not one of 18, 34, 50, 101, 152, 200"),
        ({"name": "resnet_cifar", "depth": 21}, r"model.depth=21 is not 6n\+2"),
        ({"name": "vgg"}, "model.name='vgg' is not one of"),
        ({"dtype": "float16"}, "model.dtype='float16' is not one of float32, bfloat16"),
    ],
)
def test_unknown_networks_are_errors(change, message):
    with pytest.raises(UsageError, match=message):
        model(**({"name": "resnet", "depth": 50, "features": 64} | change))
