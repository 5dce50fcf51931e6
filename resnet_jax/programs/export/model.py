"""The network that is exported."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from resnet_jax.data.eval_preprocessing import EvalPreprocessing


class Signatures(NamedTuple):
    """The signatures of a SavedModel: this program's, or those of TensorFlow's r1 ResNet."""

    name: str = "own"  # one of `SIGNATURES`
    batch_size: int | None = None  # fixed number of images in a call of 'r1_tensor'; None: any number
    dtype: str = "float32"  # dtype of the input of 'r1_tensor'


SIGNATURES = ("own", "r1_tensor", "r1_image_bytes")


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its weights and everything needed to use it.

    Attributes:
      step: maps 'params' and 'batch_stats', and images [B, S, S, 3] uint8, to 'probabilities' and 'classes'.
      preprocess: the first part of `step`, which maps the images to the float32 input of the network.
      network_step: `step` without `preprocess`.
      variables: 'params' and 'batch_stats' as numpy arrays.
      network: config keys that determine what the network computes, and their values, from `network_settings`.
      preprocessing: how an image file becomes an image [S, S, 3] uint8.
      class_names: names of the outputs.
      signatures: the signatures of a SavedModel.
      source: where the weights come from, as JSON values: path, step, weights (their kind), sha256.
    """

    step: Callable[[dict[str, Any], jax.Array], dict[str, jax.Array]]
    preprocess: Callable[[jax.Array], jax.Array]
    network_step: Callable[[dict[str, Any], jax.Array], dict[str, jax.Array]]
    variables: dict[str, Any]
    network: dict[str, Any]
    preprocessing: EvalPreprocessing
    class_names: tuple[str, ...]
    signatures: Signatures
    source: dict[str, Any]

    def predict(self, images: jax.Array) -> dict[str, jax.Array]:
        """Returns the outputs of `step` for images [B, S, S, 3] uint8, with `variables` as the weights."""
        return self.step(self.variables, images)
