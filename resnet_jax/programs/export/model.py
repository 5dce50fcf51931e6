"""What is exported, and the images that every export is compared on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.errors import UsageError

_LARGEST_DIFFERENCE = 1e-4  # of a probability

Outputs = dict[str, np.ndarray]  # 'probabilities' [N, K] float32, 'classes' [N] integers


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its weights.

    Attributes:
      step: from 'params' and 'batch_stats', and images [B, S, S, 3] uint8, to probabilities and classes.
      variables: 'params' and 'batch_stats', numpy arrays.
      network: what it is and is given (`network_settings`).
      preprocessing: from a file to such an image.
      class_names: of the outputs.
      source: of the weights, in JSON values: path, step, weights, sha256.
    """

    step: Callable[[dict[str, Any], jax.Array], dict[str, jax.Array]]
    variables: dict[str, Any]
    network: dict[str, Any]
    preprocessing: EvalPreprocessing
    class_names: tuple[str, ...]
    source: dict[str, Any]

    def predict(self, images: jax.Array) -> dict[str, jax.Array]:
        """The step with these weights."""
        return self.step(self.variables, images)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Images, and what this program makes of them."""

    files: tuple[bytes, ...]  # JPEG
    images: np.ndarray  # [N, S, S, 3] uint8, the same cropped and resized
    outputs: Outputs


def compare(outputs: Outputs, sample: Sample, *, what: str) -> dict[str, Any]:
    """Compares what an export makes of the sample with what this program does.

    Returns:
      JSON values: how many images, and the largest difference of a probability.

    Raises:
      UsageError: another class comes first for an image, or a probability differs by more than 1e-4.
    """
    expected = sample.outputs
    differences = np.abs(outputs["probabilities"].astype(np.float64) - expected["probabilities"])
    largest = float(differences.max()) if np.isfinite(differences).all() else np.inf
    others = int(np.sum(outputs["classes"] != expected["classes"]))
    if others or not largest <= _LARGEST_DIFFERENCE:
        raise UsageError(
            f"the export ({what}) is not what this program computes: {others} of {len(sample.files)} images have "
            f"another first class, probabilities differ by up to {largest:.1e}; nothing was written "
            "(config.export.dtype='float32' is the most exact)"
        )
    return {"images": len(sample.files), "other_first_class": others, "largest_difference": largest}
