"""The network that is exported."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from resnet_jax.data.eval_preprocessing import EvalPreprocessing

if TYPE_CHECKING:
    from resnet_jax.programs.export.onnx_int8 import Splits


class Signatures(NamedTuple):
    """The signatures of a SavedModel.

    The name 'own' means those of this program, the other names mean those of the r1.x ResNet of the TensorFlow Models
    repository.
    """

    name: str = "own"  # one of `SIGNATURES`
    batch_size: int | None = None  # fixed number of images in a call of the signature 'r1_tensor'; None: any number
    dtype: str = "float32"  # activation dtype of the export; the signature 'r1_tensor' takes images of this dtype


class Card(NamedTuple):
    """Facts for the model card of the format 'hub' that do not follow from the network and its weights."""

    title: str = "ResNet"
    license: str | None = None  # name of the license of the weights on the Hugging Face Hub; None: not given
    push_to: str | None = None  # 'org/name' of the repository; None: not pushed
    training: Mapping[str, Any] = {}  # config key -> value of each setting that is not the default; {} if unknown
    data: Mapping[str, Any] = {}  # split -> name and size of the data, as in `run.json`; {} if unknown
    certificates: tuple[dict[str, Any], ...] = ()  # results of evaluations of these weights


SIGNATURES = ("own", "r1_tensor", "r1_image_bytes")


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its weights and everything needed to use it.

    Attributes:
      step: maps a dict of 'params' and 'batch_stats', and images [B, S, S, 3] uint8, to 'probabilities' and 'classes'.
      preprocess: the first part of `step`: maps the images to the float32 input of the network.
      network_step: the second part of `step`: maps the variables and that input to the outputs.
      variables: 'params' and 'batch_stats' as numpy arrays.
      network: settings of the network, config key -> value, from `network_settings`.
      preprocessing: how an image file becomes an image [S, S, 3] uint8.
      class_names: names of the outputs.
      signatures: the signatures of a SavedModel.
      card: facts for the model card of the format 'hub'.
      splits: the data of the run, which only the format 'onnx_int8' needs; None if they were not opened.
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
    card: Card
    source: dict[str, Any]
    splits: "Splits | None" = None

    def predict(self, images: jax.Array) -> dict[str, jax.Array]:
        """Returns the outputs of `step` for images [B, S, S, 3] uint8, with `variables` as the weights."""
        return self.step(self.variables, images)
