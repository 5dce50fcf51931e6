"""Networks for the tests: small ones, with shapes by abstract evaluation and compiled functions of the model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.models import create_model

DEFAULTS = {
    "name": "resnet",
    "version": "v1.5",
    "depth": 50,
    "features": 64,
    "num_classes": 1000,
    "dtype": "float32",
    "padding": "torch",
    "stem": "conv7",
    "shortcut": "projection",
    "blur_pool": False,
    "squeeze_excitation": 0.0,
    "stochastic_depth": 0.0,
    "bn_group_size": None,
    "bn_momentum": 0.9,
    "bn_epsilon": 1e-5,
    "zero_init_last_bn": False,
    "kernel_init": "he",
    "head_init": "normal",
}
CIFAR = {"name": "resnet_cifar", "features": 16, "num_classes": 10}
RESNET_D = {"stem": "deep", "shortcut": "average_pool"}
R1 = {"padding": "tf", "shortcut": "stage_projection", "bn_momentum": 0.997, "kernel_init": "lecun"} | {
    "head_init": "glorot_uniform"
}


def network(**changes):
    return create_model(**(DEFAULTS | changes))


def tiny(stage_sizes=(1, 2), **changes):
    """A network of 4 features and 10 classes, of bottleneck blocks, or of basic blocks with `depth=18`."""
    return network(**({"features": 4, "num_classes": 10} | changes)).clone(stage_sizes=stage_sizes)


def shapes_of_variables(model, size=64):
    return initialize.eval_shape(model, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))


def shapes_of_outputs(model, size):
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return outputs.eval_shape(model, shapes_of_variables(model, size), images)


_compiled = functools.partial(jax.jit, static_argnums=0)


@_compiled
def initialize(model, images):
    return model.init(jax.random.key(0), images, train=False)


def random_variables(model, images):
    """Returns variables with random kernels, and norms that are the identity; compiles nothing."""
    random = np.random.default_rng(0)

    def make(path, leaf):
        if path[-1].key == "kernel":  # the output has about the variance of the input
            return random.normal(0.0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(leaf.dtype)
        return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)

    return jax.tree_util.tree_map_with_path(make, initialize.eval_shape(model, images))


@_compiled
def evaluation_logits(model, variables, images):
    return model.apply(variables, images, train=False)


@_compiled
def training_logits(model, variables, images, uniforms=None):
    return model.apply(variables, images, train=True, uniforms=uniforms, mutable=["batch_stats"])[0]


@_compiled
def outputs(model, variables, images):
    """The output of every module in evaluation mode, nested by module names."""
    _, state = model.apply(variables, images, train=False, capture_intermediates=True, mutable=["intermediates"])
    return jax.tree.map(lambda calls: calls[0], state["intermediates"], is_leaf=lambda leaf: isinstance(leaf, tuple))
