"""Initial weights, by the names of the config."""

from collections.abc import Callable

import flax.linen as nn
import jax
from jax.nn.initializers import Initializer

Init = Callable[..., jax.Array]  # from key, shape and dtype

KERNEL_INITS: dict[str, Initializer] = {
    # He et al. 2015, Delving Deep into Rectifiers: normal with variance 2 / (k * k * channels out).
    "he": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    # r1's `tf.compat.v1.variance_scaling_initializer()`: variance 1 / (k * k * channels in), cut at two deviations.
    "lecun": nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
}


def _uniform_by_inputs(inputs: int) -> Init:
    """Uniform in +-1 / sqrt(inputs), whatever the shape: kernel and bias of `torch.nn.Linear`."""
    bound = inputs**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


# From the number of inputs of the head to the initialisers of its kernel and its bias.
HEAD_INITS: dict[str, Callable[[int], tuple[Init, Init]]] = {
    "normal": lambda _: (nn.initializers.normal(0.01), nn.initializers.zeros),  # Goyal et al. 2017, section 5.1
    "glorot_uniform": lambda _: (nn.initializers.glorot_uniform(), nn.initializers.zeros),  # r1's `tf.layers.dense`
    "torch": lambda inputs: (_uniform_by_inputs(inputs),) * 2,
    "zeros": lambda _: (nn.initializers.zeros,) * 2,
}
