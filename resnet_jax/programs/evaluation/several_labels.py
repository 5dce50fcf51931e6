"""Judges answers by several right labels for each image, as ReaL does for ImageNet's validation images."""

from typing import Any

import numpy as np

from resnet_jax.data.several_labels import Labels
from resnet_jax.programs.evaluation.wilson import wilson
from resnet_jax.training.metrics import Answers


def judge(answers: Answers, labels: Labels) -> dict[str, Any]:
    """Returns the accuracy by several labels as JSON values: an answer is right if it is one of the labels.

    Images without any label are left out, as in L. Beyer et al., "Are we done with ImageNet?", 2020.

    Args:
      answers: of all images, without padding.
      labels: all right labels of each image, in the same order.
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
