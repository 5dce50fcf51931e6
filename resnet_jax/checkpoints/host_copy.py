"""The training state in the memory of the host, as numpy arrays, and back on the devices."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from resnet_jax.distributed import mesh
from resnet_jax.nested import by_path
from resnet_jax.training.state import TrainState


def copy_to_host(state: TrainState, *, into: TrainState | None) -> TrainState:
    """The state as numpy arrays with memory of their own: that of the devices is donated next.

    Args:
      state: replicated.
      into: an earlier copy to be overwritten, which takes a third of the time; None: new memory is taken.
    """
    if into is None:
        into = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), state)
    for leaf in jax.tree.leaves(state):
        leaf.copy_to_host_async()  # all at once, then one after the other
    jax.tree.map(lambda array, leaf: np.copyto(array, np.asarray(leaf)), into, state)
    return into


def copy_to_devices(arrays: Any, abstract: TrainState) -> TrainState:
    """Puts arrays on the devices by the shardings of `abstract`. Each process fills its own devices: none waits.

    Args:
      arrays: numpy arrays, nested as the state is; dicts and lists do.
      abstract: the shapes, dtypes and shardings of the state.
    """
    there = by_path(arrays)
    leaves = [_put(there[name], wanted.sharding) for name, wanted in by_path(abstract).items()]
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves)


def _put(array: np.ndarray, where: Sharding | None) -> jax.Array:
    """Without a sharding: on the default device."""
    return jax.device_put(array) if where is None else mesh.put_on_devices(array, where)
