"""Describes which images an archive lacks, by the numbers of images that ILSVRC2012 has in total and per class."""

import numpy as np

from resnet_jax.data.imagenet_classes import synsets

NUM_IMAGES = {"train": 1_281_167, "validation": 50_000}  # number of images of each complete split
# Smallest and largest number of images per class. Source for train: Russakovsky et al. 2015 (arXiv 1409.0575), table 2.
_PER_CLASS = {"train": (732, 1300), "validation": (50, 50)}
_MAX_NAMED = 8  # number of classes that a message names at most


def describe_missing(split: str, labels: np.ndarray) -> str:
    """Describes how the images of an archive differ from the complete split.

    Args:
      split: 'train' or 'validation'.
      labels: [N] int, class of each image in the archive.

    Returns:
      A clause for a message, for example "train has 12 images instead of 1,281,167"; empty if the split is complete.
    """
    counts = np.bincount(labels, minlength=len(synsets()))
    low, high = _PER_CLASS[split]
    faults = []
    if len(labels) != NUM_IMAGES[split]:
        faults.append(f"{len(labels):,} images instead of {NUM_IMAGES[split]:,}")
    for fault, affected in {
        "no image": counts == 0,
        f"fewer than {low} images per class": (counts > 0) & (counts < low),
        f"more than {high} images per class": counts > high,
    }.items():
        if affected.any():
            faults.append(f"{fault} in {affected.sum():,} classes ({_names(affected)})")
    return f"{split} has {', '.join(faults)}" if faults else ""


def _names(affected: np.ndarray) -> str:
    names = [synsets()[label] for label in np.nonzero(affected)[0]]
    return ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")
