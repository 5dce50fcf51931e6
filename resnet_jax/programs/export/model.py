"""The network that is exported."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from resnet_jax.data.eval_preprocessing import EvalPreprocessing


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its weights and everything needed to use it.

    Attributes:
      step: maps 'params' and 'batch_stats', and images [B, S, S, 3] uint8, to 'probabilities' and 'classes'.
      variables: 'params' and 'batch_stats' as numpy arrays.
      network: config keys that determine what the network computes, and their values, from `network_settings`.
      preprocessing: how an image file becomes an image [S, S, 3] uint8.
      class_names: names of the outputs.
      source: where the weights come from, as JSON values: path, step, weights (their kind), sha256.
    """

    step: Callable[[dict[str, Any], jax.Array], dict[str, jax.Array]]
    variables: dict[str, Any]
    network: dict[str, Any]
    preprocessing: EvalPreprocessing
    class_names: tuple[str, ...]
    source: dict[str, Any]

    def predict(self, images: jax.Array) -> dict[str, jax.Array]:
        """Returns the outputs of `step` for images [B, S, S, 3] uint8, with `variables` as the weights."""
        return self.step(self.variables, images)
