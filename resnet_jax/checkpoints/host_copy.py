"""Copies of a pytree of device arrays in host memory, and back."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from resnet_jax.distributed.mesh import put_on_devices
from resnet_jax.nested import by_path


def copy_to_host(state: Any, *, into: Any) -> Any:
    """Copies arrays to numpy arrays that own their memory, so that the device arrays may be donated afterwards.

    Args:
      state: a pytree of replicated device arrays, or numpy arrays.
      into: an earlier copy to overwrite, which takes a third of the time; None: allocate new memory.
    """
    if into is None:
        into = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), state)
    for leaf in jax.tree.leaves(state):
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()  # start all transfers before waiting for the first
    jax.tree.map(lambda array, leaf: np.copyto(array, np.asarray(leaf)), into, state)
    return into


def copy_to_devices(arrays: Any, abstract_state: Any) -> Any:
    """Puts arrays on the devices by the shardings of `abstract_state`, without communication between processes.

    Args:
      arrays: numpy arrays in nested dicts and lists, with the paths of `abstract_state`.
      abstract_state: its structure is that of the result; arrays, or `jax.ShapeDtypeStruct`, with shardings or without.
    """
    by_name = by_path(arrays)
    leaves = [_put(by_name[name], getattr(leaf, "sharding", None)) for name, leaf in by_path(abstract_state).items()]
    return jax.tree.unflatten(jax.tree.structure(abstract_state), leaves)


def _put(array: np.ndarray, sharding: Sharding | None) -> jax.Array:
    """Without a sharding: on the default device."""
    return jax.device_put(array) if sharding is None else put_on_devices(array, sharding)
