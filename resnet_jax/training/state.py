"""The training state: everything that changes from step to step, and nothing else."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Sharding

from resnet_jax.training.loss_scale import LossScale, initial

WeightsKind = Literal["trained", "ema"]  # the variables that the optimizer updates, or their moving average


@flax.struct.dataclass
class TrainState:
    """The training state, of arrays only, so that it can be sharded, donated and saved as a whole."""

    step: jax.Array  # int32, steps so far, skipped updates included; data order, schedule and random keys depend on it
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState
    average: dict[str, Any] | None  # moving average of 'params' and 'batch_stats' (`ema.py`); None: not kept
    loss_scale: LossScale | None  # None: the loss is not scaled

    @property
    def variables(self) -> dict[str, Any]:
        """The trained variables: 'params' and 'batch_stats'."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def to_evaluate(self, kind: WeightsKind) -> dict[str, Any]:
        """Returns the trained variables for kind 'trained', their moving average for kind 'ema'."""
        if kind == "trained":
            return self.variables
        assert self.average is not None
        return self.average


def make_init(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_size: int = 224,
    seed: int = 0,
    averages: bool = False,
    loss_scale: float | None = None,
) -> Callable[[], TrainState]:
    """Returns the function that makes the state of step 0; jit it, or trace it with `abstract_state`.

    Args:
      model: network that takes images [B, H, W, 3].
      optimizer: initializes the optimizer state from the parameters.
      image_size: height and width in pixels of an image that the model accepts; the parameters do not depend on it.
      seed: seed of the random initial parameters.
      averages: keep a moving average of the variables in the state.
      loss_scale: the initial loss scale; None: the loss is not scaled.
    """

    def init() -> TrainState:
        images = jnp.zeros((1, image_size, image_size, 3))
        variables = model.init(jax.random.key(seed), images, train=False)
        params, batch_stats = variables["params"], variables["batch_stats"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=batch_stats,
            opt_state=optimizer.init(params),
            # A copy, since a state that is donated cannot contain the same buffer twice.
            average=jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if averages else None,
            loss_scale=None if loss_scale is None else initial(loss_scale),
        )

    return init


def abstract_state(init: Callable[[], TrainState], sharding: Sharding) -> TrainState:
    """Returns the shapes and dtypes, with `sharding`, of the state that `init` makes; computes no values."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), jax.eval_shape(init)
    )


def parameter_count(params: Any) -> int:
    """Returns the number of scalar parameters in a tree of arrays or `jax.ShapeDtypeStruct`."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
