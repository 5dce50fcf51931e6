"""The training state: everything that changes with time and nothing else."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Sharding

from resnet_jax.training.loss_scale import LossScale, initial

WeightsKind = Literal["trained", "ema"]


@flax.struct.dataclass
class TrainState:
    """Arrays only, so that it is sharded, donated and saved whole."""

    step: jax.Array  # int32, batches seen: the position in the data, the schedule and all random keys
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState
    average: dict[str, Any] | None  # of the variables (`averaging.py`), if there is one
    loss_scale: LossScale | None  # if there is one

    @property
    def variables(self) -> dict[str, Any]:
        """What the network computes with while it is trained: 'params' and 'batch_stats'."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def to_evaluate(self, weights: WeightsKind) -> dict[str, Any]:
        """The variables that are trained, or their average."""
        if weights == "trained":
            return self.variables
        assert self.average is not None
        return self.average


def make_init(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_size: int,
    seed: int,
    averages: bool,
    loss_scale: float | None,
) -> Callable[[], TrainState]:
    """Returns the function that makes the state of step 0; it is to be jitted or traced abstractly.

    Args:
      model: takes images [B, H, W, 3].
      optimizer: of its parameters.
      image_size: of any images that fit the model, in pixels.
      seed: of the parameters.
      averages: keep a running average of the variables.
      loss_scale: the first; None: losses are not scaled.
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
            # A copy: donated memory cannot be two leaves at once.
            average=jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if averages else None,
            loss_scale=None if loss_scale is None else initial(loss_scale),
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
