"""The training state: everything that changes with time and nothing else."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Sharding


@flax.struct.dataclass
class TrainState:
    """Arrays only, so that it is sharded, donated and saved whole."""

    step: jax.Array  # int32, updates done: the position in the data, the schedule and all random keys
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState


def make_init(
    *, model: nn.Module, optimizer: optax.GradientTransformation, image_size: int, seed: int
) -> Callable[[], TrainState]:
    """Returns the function that makes the state of step 0; it is to be jitted or traced abstractly."""

    def init() -> TrainState:
        images = jnp.zeros((1, image_size, image_size, 3))
        variables = model.init(jax.random.key(seed), images, train=False)
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables["batch_stats"],
            opt_state=optimizer.init(params),
        )

    return init


def abstract_state(init: Callable[[], TrainState], sharding: Sharding) -> TrainState:
    """The shapes of the state that `init` would make, placed by `sharding`; nothing is computed."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), jax.eval_shape(init)
    )


def parameter_count(params: Any) -> int:
    """Number of trainable scalars in a tree of arrays or of their shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
