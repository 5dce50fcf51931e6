"""A network with its weights in one file (`jax.export`) that needs only JAX to run."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

PLATFORMS = ("cpu", "cuda", "tpu")


def write_jax_artifact(path: Path, predict: Callable[[jax.Array], dict[str, jax.Array]], *, image_size: int) -> None:
    """Writes a function of images [B, S, S, 3] uint8 to a file that runs for any B on all of `PLATFORMS`.

    JAX guarantees to read the file for at least six months (documentation of `jax.export`, compatibility guarantees).

    Args:
      path: the file to write.
      predict: the function to trace; the weights in it become constants.
      image_size: S in pixels.
    """
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.uint8)
    path.write_bytes(jax.export.export(jax.jit(predict), platforms=PLATFORMS)(images).serialize())


def run_jax_artifact(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Reads the file of `write_jax_artifact` and runs it on images [B, S, S, 3] uint8; returns its outputs."""
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    return {name: np.asarray(value) for name, value in exported.call(images).items()}
