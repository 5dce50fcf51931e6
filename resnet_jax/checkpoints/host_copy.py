"""Copies a pytree of arrays from the devices to host memory, and back to the devices."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from resnet_jax.distributed.mesh import put_on_devices
from resnet_jax.nested import by_path


def copy_to_host(state: Any, *, into: Any) -> Any:
    """Copies arrays to numpy arrays with memory of their own, so that the device arrays may be donated afterwards.

    Args:
      state: a pytree of replicated device arrays, or numpy arrays.
      into: result of an earlier call, which is overwritten: the copy then takes a third of the time. None: allocate
        new memory.

    Returns:
      A pytree of numpy arrays; `into` if it is given.
    """
    if into is None:
        into = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), state)
    for leaf in jax.tree.leaves(state):
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()  # start all transfers before waiting for the first
    jax.tree.map(lambda array, leaf: np.copyto(array, np.asarray(leaf)), into, state)
    return into


def copy_to_devices(arrays: Any, abstract_state: Any) -> Any:
    """Puts arrays on the devices, with the shardings of `abstract_state`. Processes do not communicate.

    Args:
      arrays: numpy arrays in nested dicts and lists, at the same paths as in `abstract_state`.
      abstract_state: a pytree of arrays or of `jax.ShapeDtypeStruct`, which may have shardings.

    Returns:
      A pytree of device arrays, with the structure of `abstract_state`.
    """
    by_name = by_path(arrays)
    leaves = [_put(by_name[name], getattr(leaf, "sharding", None)) for name, leaf in by_path(abstract_state).items()]
    return jax.tree.unflatten(jax.tree.structure(abstract_state), leaves)


def _put(array: np.ndarray, sharding: Sharding | None) -> jax.Array:
    """Puts an array on the devices of its sharding; without a sharding, on the default device."""
    return jax.device_put(array) if sharding is None else put_on_devices(array, sharding)
