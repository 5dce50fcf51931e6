import functools
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.configs import resnet50
from resnet_jax.errors import UsageError
from resnet_jax.models.variants import NAMED, create_model
from tests.models.networks import network, random_variables, tiny

NAMES = {key: list(values) for key, values in NAMED.items()}
# Values of which one is sampled for each combination of a version, a stem and a shortcut.
SAMPLED = {key: NAMES[key] for key in ("dtype", "padding", "kernel_init", "head_init")} | {
    "depth": (18, 50),
    "blur_pool": (False, True),
    "squeeze_excitation": (0.0, 0.25),
    "stochastic_depth": (0.0, 0.2),
    "zero_init_last_bn": (False, True),
    "bn_group_size": (None, 2),
}


@pytest.mark.parametrize("version", NAMES["version"])
def test_every_combination_can_be_trained(version):
    random = np.random.default_rng(0)
    images, uniforms = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, 32, 32, 3), (4, 2)))
    for stem, shortcut in itertools.product(NAMES["stem"], NAMES["shortcut"]):
        changes = {key: values[random.integers(len(values))] for key, values in SAMPLED.items()}
        changes |= {"zero_init_last_bn": False} if version == "v2" else {}
        model = tiny((1, 1), version=version, stem=stem, shortcut=shortcut, **changes)
        train = functools.partial(model.init_with_output, train=True)
        logits, _ = jax.eval_shape(train, jax.random.key(0), images, uniforms=uniforms)
        assert logits.shape == (4, 10)


PAIRS = list(zip([*NAMES["version"], "v1.5"], NAMES["shortcut"], strict=True))


@pytest.mark.parametrize(("version", "shortcut"), PAIRS)
def test_the_32_pixel_family_in_every_version(version, shortcut):
    model = network(name="resnet_cifar", depth=8, features=4, num_classes=7, version=version, shortcut=shortcut)
    logits, _ = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), jnp.zeros((2, 9, 9, 3))
    )
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 51}, "model.depth=51 is not one of 18, 34, 50, 101, 152, 200"),
        ({"name": "resnet_cifar", "depth": 21}, r"model.depth=21 is not 6n\+2"),
        ({"name": "vgg"}, "model.name='vgg' is not one of resnet, resnet_cifar"),
        ({"dtype": "float64"}, "model.dtype='float64' is not one of float32, bfloat16, float16"),
        ({"version": "v3"}, "model.version='v3' is not one of v1, v1.5, v2"),
        ({"stem": "conv3"}, "model.stem='conv3' is not one of conv7, space_to_depth, deep"),
        ({"stem": "7x7", "name": "resnet_cifar", "depth": 20}, "model.stem='7x7' is not one of"),
        ({"padding": "SAME"}, "model.padding='SAME' is not one of torch, tf"),
        (
            {"shortcut": "B"},
            "model.shortcut='B' is not one of projection, stage_projection, average_pool, zero_pad",
        ),
        ({"kernel_init": "xavier"}, "model.kernel_init='xavier' is not one of he, lecun"),
        ({"head_init": "ones"}, "model.head_init='ones' is not one of normal, glorot_uniform, torch, zeros"),
        ({"version": "v2", "zero_init_last_bn": True}, "never train.* Set model.zero_init_last_bn=False"),
        ({"stem": "deep", "features": 9}, "model.features=9 is odd"),
    ],
)
def test_unknown_and_contradicting_options_are_errors(change, message):
    with pytest.raises(UsageError, match=message):
        network(**change)


def test_the_defaults_are_those_of_the_main_recipe():
    defaults = {name: option.default for name, option in inspect.signature(create_model).parameters.items()}
    recipe = resnet50.get_config().model
    assert recipe.num_classes is None and defaults.pop("num_classes") == 1000  # the data set has 1,000
    assert defaults.pop("trained_norms") == ""  # the value without train.trainable
    assert defaults == {name: recipe[name] for name in defaults}


def test_few_options_make_a_network():
    assert create_model().num_blocks == 16
    assert create_model(depth=18, num_classes=10).num_classes == 10


def test_version_2_with_zero_scales_would_never_train():
    # Why the combination is an error: the scale and bias before a ReLU of zeros never get a gradient.
    model = tiny((1,), depth=18, version="v2")
    x = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    variables = random_variables(model, x)
    variables["params"]["stage1_block1"]["bn2"]["scale"] *= 0

    @jax.jit
    @jax.grad
    def gradient(params):
        return model.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])[0].sum()

    grads = gradient(variables["params"])["stage1_block1"]
    assert not any(jnp.any(leaf) for name in ("bn2", "conv2") for leaf in jax.tree.leaves(grads[name]))
