"""Checks on synthetic images that an exported model gives the same outputs as the network in JAX."""

import dataclasses
from typing import Any

import jax
import numpy as np

from resnet_jax.data.sources import open_source
from resnet_jax.distributed.mesh import over_batch, put_on_devices, replicated
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Inference
from resnet_jax.experiment.compile import compile_predict_step
from resnet_jax.weights.select import SelectedWeights

_SIZES = ((375, 500), (500, 333), (97, 120), (224, 224))  # height and width of the sample images in pixels
_IMAGES_PER_SIZE = 8
_MAX_DIFFERENCE = 1e-4  # largest accepted difference of a probability

Outputs = dict[str, np.ndarray]  # 'probabilities' [N, K] float32, 'classes' [N] integers


@dataclasses.dataclass(frozen=True)
class Sample:
    """Synthetic photographs and this program's predictions for them."""

    files: tuple[bytes, ...]  # N JPEG files
    images: np.ndarray  # [N, S, S, 3] uint8, the files decoded, cropped and resized
    outputs: Outputs  # this program's predictions


def make_sample(inference: Inference, selected: SelectedWeights) -> Sample:
    """Makes synthetic photographs of several sizes, preprocesses them and predicts their classes with this program."""
    files: list[bytes] = []
    images: list[np.ndarray] = []
    for height, width in _SIZES:
        count = _IMAGES_PER_SIZE
        size = {"image_height": height, "image_width": width}
        source = open_source("synthetic_jpeg", training=False, num_train=1, num_eval=count, num_classes=count, **size)
        images.append(inference.make_loader(source, count).first_images(count))
        files += [bytes(source[index].image) for index in range(count)]
    stacked = np.concatenate(images)
    return Sample(tuple(files), stacked, predict_images(inference, selected.variables, stacked))


def predict_images(inference: Inference, variables: dict[str, Any], images: np.ndarray) -> Outputs:
    """Runs the prediction step on images [N, S, S, 3] uint8, sharded over the devices of `inference`."""
    count, devices = len(images), inference.mesh.size
    padded = np.concatenate([images, np.zeros((-count % devices, *images.shape[1:]), np.uint8)])
    step = compile_predict_step(inference, len(padded))
    outputs = step(
        put_on_devices(variables, replicated(inference.mesh)), jax.device_put(padded, over_batch(inference.mesh))
    )
    return {name: np.asarray(value)[:count] for name, value in outputs.items()}


def compare(outputs: Outputs, sample: Sample, *, what: str) -> dict[str, Any]:
    """Compares the predictions of an export with those of this program.

    Args:
      outputs: predictions of the export for the sample.
      sample: the images with this program's predictions.
      what: name of the export, for the error message.

    Returns:
      JSON values: the number of images, the number of images whose predicted class differs, and the largest
      difference of a probability.

    Raises:
      UsageError: a predicted class differs, or a probability differs by more than 1e-4.
    """
    expected = sample.outputs
    differences = np.abs(outputs["probabilities"].astype(np.float64) - expected["probabilities"])
    largest = float(differences.max()) if np.isfinite(differences).all() else np.inf
    different = int(np.sum(outputs["classes"] != expected["classes"]))
    if different or not largest <= _MAX_DIFFERENCE:
        raise UsageError(
            f"the export ({what}) does not compute what this program computes: {different} of {len(sample.files)} "
            f"images have another predicted class, probabilities differ by up to {largest:.1e}; nothing was written "
            "(set config.export.dtype='float32', the most exact)"
        )
    return {"images": len(sample.files), "other_first_class": different, "largest_difference": largest}
