"""Prints the costs of a small function and of its gradients, compiled for an H100, as JSON."""

import json

from resnet_jax.analysis.gpu_topology import gpu_devices

DEVICES = gpu_devices("h100")  # before JAX is initialized

# ruff: noqa: E402
import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.analysis.gpu_kernels import count_kernels
from resnet_jax.analysis.program_cost import program_cost

SHAPES = ((8, 64, 64, 16), (3, 3, 16, 32), (5, 32, 32))


def network(x, kernel, matrices):
    """Returns the sum of squares after a convolution, a max-pool of 3x3 and a loop of five matrix products."""
    y = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    rows, _ = jax.lax.scan(lambda rows, matrix: (rows @ matrix, None), y.reshape(-1, y.shape[-1]), matrices)
    return jnp.sum(jnp.square(rows.astype(jnp.float32)))


def costs(function):
    whole = jax.sharding.NamedSharding(jax.sharding.Mesh(np.array(DEVICES), "x"), jax.sharding.PartitionSpec())
    arguments = [jax.ShapeDtypeStruct(shape, "bfloat16", sharding=whole) for shape in SHAPES]
    cost = program_cost(jax.jit(function).lower(*arguments).compile(), num_microbatches=1)
    scatters = count_kernels(cost.kernels).scatters
    return {"flops": cost.flops, "scatters": scatters, "memory": cost.peak_memory, "accessed": cost.bytes_accessed}


if __name__ == "__main__":
    print(json.dumps([costs(network), costs(jax.grad(network, argnums=(0, 1, 2)))]))
