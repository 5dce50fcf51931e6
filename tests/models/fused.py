"""Inputs and comparisons for the tests of the fused layers."""

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.models.batch_norm import BatchNorm


def norm(*, train=True, dtype=jnp.float32, group_size=None, trained=""):
    return BatchNorm(
        train=train, group_size=group_size, momentum=0.9, epsilon=1e-5, dtype=dtype, trained=trained, name="bn"
    )


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(0.5, 1.0, shape), jnp.float32)


def norm_variables(channels):
    """Parameters, with scales of both signs, and running statistics of a batch norm."""
    params = {"scale": normal(2, channels), "bias": normal(3, channels)}
    return params, {"mean": normal(4, channels), "var": jnp.abs(normal(5, channels))}


def relative_gap(one, other):
    """Norm of the difference of two trees / norm of the second."""
    flat = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64) for tree in (one, other)
    ]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])
