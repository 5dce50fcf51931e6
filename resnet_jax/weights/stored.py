"""What was read of a file of weights, whatever its format."""

import dataclasses
from typing import Any

import numpy as np

from resnet_jax.training.state import WeightsKind

HEAD = "params/head/"


@dataclasses.dataclass(frozen=True)
class StoredWeights:
    """Weights by our names, and what is known of how they were made.

    Attributes:
      path: absolute, of what was found: the checkpoint, the file, TensorFlow's prefix.
      format: in words.
      arrays: by our flat names, 'params/stage1_block1/conv1/kernel', in our layout (HWIO), float32.
      origin: our name -> the name in the file.
      skipped: names in the file that are of no use here -> why.
      unknown: names in the file that are not understood.
      settings: dotted config keys -> the JSON values that the weights were trained with, as far as they are known.
      class_names: where they are said.
      class_list: their fingerprint, where it is known.
      step: of the run, where it is known.
      kind: 'trained', or 'ema' for their moving average; None: unknown.
      has_background: class 0 is r1's 'background', of which there is no image.
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
