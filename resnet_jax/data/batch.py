"""The batch that the loader produces and the training and evaluation steps consume."""

from typing import Generic, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Sharding

A = TypeVar("A")

UNREADABLE = -1  # label of an evaluation image that cannot be read; any prediction for it counts as wrong


class Batch(NamedTuple, Generic[A]):
    """One batch of images: on the host, numpy arrays of the rows of this process; on the devices, global arrays."""

    image: A  # [B, H, W, 3] uint8
    label: A  # [B] int32, class index, or `UNREADABLE` for an evaluation image that cannot be read
    mask: A  # [B] bool, False for rows without an example, which pad the last evaluation batch


HostBatch = Batch[np.ndarray]
DeviceBatch = Batch[jax.Array]


def abstract_batch(*, batch_size: int, image_size: int, sharding: Sharding) -> Batch[jax.ShapeDtypeStruct]:
    """Returns the shapes, dtypes and sharding of a global batch, for ahead-of-time compilation."""
    return Batch(
        image=jax.ShapeDtypeStruct((batch_size, image_size, image_size, 3), np.uint8, sharding=sharding),
        label=jax.ShapeDtypeStruct((batch_size,), np.int32, sharding=sharding),
        mask=jax.ShapeDtypeStruct((batch_size,), np.bool_, sharding=sharding),
    )
