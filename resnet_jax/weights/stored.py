"""The weights of a network, as read from a file of any format."""

import dataclasses
from typing import Any

import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.training.state import WeightsKind

HEAD = "params/head/"  # prefix of the arrays of the last layer


@dataclasses.dataclass(frozen=True)
class StoredWeights:
    """Arrays under the names of this package, and what the file says about how they were trained.

    Attributes:
      path: absolute path of the checkpoint or file; for TensorFlow, the prefix of the checkpoint.
      format: description of the format, for logs.
      arrays: name, such as 'params/stage1_block1/conv1/kernel' -> float32 array; kernels are HWIO.
      origin: name in `arrays` -> name of the same array in the file.
      skipped: name in the file that the network does not need -> reason.
      unknown: names in the file that are not recognized.
      settings: dotted config key -> JSON value that the weights were trained with, as far as it is known.
      class_names: name of the class of each output, in order; None: unknown.
      class_list: fingerprint of the class names (`class_names.fingerprint`); None: unknown.
      step: number of updates after which the weights were saved; None: unknown.
      kind: 'trained', or 'ema': the moving average of the trained weights; None: unknown.
      has_background: class 0 is 'background', which no image has, as in the r1.x ResNet of the TensorFlow Models
        repository.
    """

    path: str
    format: str
    arrays: dict[str, np.ndarray]
    origin: dict[str, str]
    skipped: dict[str, str]
    unknown: tuple[str, ...]
    settings: dict[str, Any]
    class_names: tuple[str, ...] | None = None
    class_list: str | None = None
    step: int | None = None
    kind: WeightsKind | None = None
    has_background: bool = False

    @property
    def num_outputs(self) -> int:
        """The number of classes, without 'background'. Raises UsageError if the weights have no last layer."""
        if f"{HEAD}bias" not in self.arrays:
            raise UsageError(
                f"{self.path} has no last layer: train one with --config.model.init_from, then use that run"
            )
        return len(self.arrays[f"{HEAD}bias"]) - self.has_background
