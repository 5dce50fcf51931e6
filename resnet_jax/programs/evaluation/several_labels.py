"""Top-1 accuracy with several correct labels for each image, as ReaL defines it for ImageNet's validation images."""

from typing import Any

import numpy as np

from resnet_jax.data.several_labels import Labels
from resnet_jax.programs.evaluation.wilson import wilson
from resnet_jax.training.metrics import Answers


def judge(answers: Answers, labels: Labels) -> dict[str, Any]:
    """Returns the accuracy as JSON values: a prediction is correct if it is one of the labels of the image.

    Images without any label are left out, as in L. Beyer et al., "Are we done with ImageNet?", 2020.

    Args:
      answers: predictions for all images, without padding rows.
      labels: all correct labels of each image, in the same order.
    """
    pairs = zip(answers.predicted.tolist(), labels, strict=True)
    hits = np.array([predicted in right for predicted, right in pairs if right], bool)
    count, right = len(hits), int(hits.sum())
    return {
        "count": count,
        "without_label": len(labels) - count,
        "right": right,
        "top1": right / count if count else None,
        "interval": wilson(right, count),
    }
