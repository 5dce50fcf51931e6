"""The classes of ILSVRC2012, what the whole of it holds, and what an archive lacks of that."""

import numpy as np

from resnet_jax.data.imagenet_classes import synsets

WHOLE = {"train": 1_281_167, "validation": 50_000}  # images
_VALIDATION_PER_CLASS = 50
# Of all classes; Russakovsky et al. 2015 (arXiv 1409.0575), table 2.
_FEWEST_PER_CLASS, _MOST_PER_CLASS = 732, 1300
_NAMED = 8  # classes in a message


def lacks(split: str, image_labels: np.ndarray) -> str:
    """What keeps images of these labels from being the whole of a split, in words; empty: nothing does."""
    counts = np.bincount(image_labels, minlength=len(synsets()))
    low, high = (_FEWEST_PER_CLASS, _MOST_PER_CLASS) if split == "train" else (_VALIDATION_PER_CLASS,) * 2
    faults = []
    if len(image_labels) != WHOLE[split]:
        faults.append(f"{len(image_labels):,} images instead of {WHOLE[split]:,}")
    for fault, rows in {
        "none": counts == 0,
        f"less than {low}": (counts > 0) & (counts < low),
        f"more than {high}": counts > high,
    }.items():
        if rows.any():
            faults.append(f"{fault} of {rows.sum():,} classes ({_names(rows)})")
    return f"{split} has {', '.join(faults)}" if faults else ""


def _names(rows: np.ndarray) -> str:
    names = [synsets()[label] for label in np.nonzero(rows)[0]]
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
