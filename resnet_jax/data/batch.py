"""What passes from the loader to the steps."""

from typing import Generic, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Sharding

A = TypeVar("A")

UNREADABLE = -1  # label of an evaluation image that cannot be read: it counts, and every answer is wrong


class Batch(NamedTuple, Generic[A]):
    """One batch: on the host numpy arrays with the rows of this process, on the devices global arrays."""

    image: A  # [B, H, W, 3] uint8
    label: A  # [B] int32; in evaluation `UNREADABLE` for an image that cannot be read
    mask: A  # [B] bool; False marks the padding rows of a last evaluation batch


HostBatch = Batch[np.ndarray]
DeviceBatch = Batch[jax.Array]


def abstract_batch(*, batch_size: int, image_size: int, sharding: Sharding) -> Batch[jax.ShapeDtypeStruct]:
    """The shapes of a global batch, to compile for before there is one."""
    return Batch(
        image=jax.ShapeDtypeStruct((batch_size, image_size, image_size, 3), np.uint8, sharding=sharding),
        label=jax.ShapeDtypeStruct((batch_size,), np.int32, sharding=sharding),
        mask=jax.ShapeDtypeStruct((batch_size,), np.bool_, sharding=sharding),
    )
