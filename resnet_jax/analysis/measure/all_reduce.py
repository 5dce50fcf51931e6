"""Measures the all-reduce of an array over all devices of a mesh, the operation by which training sums gradients."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

_MOST_REPETITIONS = 10_000


class AllReduce(NamedTuple):
    """The time, the bandwidth and the correctness of an all-reduce."""

    seconds: float  # time of one all-reduce
    bus_bytes_per_second: float  # bytes that each device would send per second in a ring all-reduce of this duration
    repetitions: int
    is_exact: bool  # whether every element of the sum is correct on every local device


def measure_all_reduce(mesh: Mesh, *, num_bytes: int, seconds: float) -> AllReduce:
    """Sums a float32 array over all devices again and again, and checks the sum.

    Every process of the run must call this function. The bandwidth is the "bus bandwidth" of NVIDIA's nccl-tests
    (doc/PERFORMANCE.md): with n devices, each device sends 2 (n - 1) / n * `num_bytes` for one sum.

    Args:
      mesh: the devices.
      num_bytes: size of the array on each device.
      seconds: approximate duration of the measurement.
    """
    count = mesh.size
    per_device = jax.make_array_from_callback(
        (count, num_bytes // 4), jax.NamedSharding(mesh, PartitionSpec("data")), lambda index: _values(index, num_bytes)
    )
    add = jax.jit(
        jax.shard_map(
            lambda rows: jax.lax.psum(rows, "data"),
            mesh=mesh,
            in_specs=PartitionSpec("data"),
            out_specs=PartitionSpec(),
        )
    )
    total = jax.block_until_ready(add(per_device))
    # All elements on device i (from 0) have the value i + 1. The float32 sum of such integers is exact.
    is_exact = all(bool(jnp.all(shard.data == count * (count + 1) / 2)) for shard in total.addressable_shards)
    once = _timed(add, per_device, 1)
    # Every process must compute the same number of sums. So this number depends on the duration of a sum averaged over
    # all devices, which is the same on every process.
    times = add(jax.make_array_from_callback((count, 1), per_device.sharding, lambda _: np.full((1, 1), once, "f4")))
    mean = float(times.addressable_shards[0].data[0, 0]) / count
    repetitions = int(min(_MOST_REPETITIONS, max(1, seconds // mean)))
    spent = _timed(add, per_device, repetitions) / repetitions
    return AllReduce(spent, 2 * (count - 1) / count * num_bytes / spent, repetitions, is_exact)


def _values(index: tuple[slice, ...] | None, num_bytes: int) -> np.ndarray:
    assert index is not None
    return np.full((1, num_bytes // 4), (index[0].start or 0) + 1, np.float32)


def _timed(add: jax.stages.Wrapped, array: jax.Array, repetitions: int) -> float:
    """Returns the seconds that `repetitions` sums take, one after the other."""
    start = time.perf_counter()
    for _ in range(repetitions):
        jax.block_until_ready(add(array))
    return time.perf_counter() - start
