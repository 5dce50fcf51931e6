"""Draws a batch of training images with the names of their classes, for TensorBoard."""

from collections.abc import Sequence

import numpy as np

from resnet_jax.data.batch import UNREADABLE, HostBatch


def draw_batch(batch: HostBatch, class_names: Sequence[str]) -> np.ndarray:
    """Returns a picture [H, W, 3] uint8 of all images of a batch; loads matplotlib."""
    from resnet_jax.reporting.input_grid import Panel, as_pixels, draw_panels  # noqa: PLC0415  takes a second to load

    captions = ["unreadable" if label == UNREADABLE else class_names[label] for label in batch.label.tolist()]
    panel = Panel("Training images, cropped and augmented on the host", batch.image, captions)
    return as_pixels(draw_panels([panel]))
