"""Builds what predictions and exports need, the network and its preprocessing, from a config; opens no data sets."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.data.crops import Crop, create_eval_crop
from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources import Source
from resnet_jax.distributed.mesh import make_mesh
from resnet_jax.experiment.computation import check_image_sizes, make_model, make_preprocess, variable_shapes
from resnet_jax.experiment.inputs import eval_image_size, eval_preprocessing
from resnet_jax.experiment.network import network_settings
from resnet_jax.training.gradients import Preprocess
from resnet_jax.training.predict_step import PredictStep, make_predict_step


@dataclasses.dataclass(frozen=True)
class Inference:
    """The parts that compute class probabilities from image files; nothing is compiled yet."""

    mesh: Mesh
    network: dict[str, Any]  # the config keys that define the function of the network, with values
    preprocessing: EvalPreprocessing  # how an image file is cropped and resized
    dtype: str  # dtype of the activations
    predict_step: PredictStep
    preprocess: Preprocess  # the first part of `predict_step`: pixels [B, S, S, 3] uint8 to the input of the network
    network_step: PredictStep  # `predict_step` without `preprocess`
    shapes: dict[str, Any]  # shapes and dtypes of 'params' and 'batch_stats'
    crop: Crop
    max_image_pixels: int  # number of pixels above which an image file counts as unreadable

    def make_loader(self, source: Source, max_batch_size: int) -> Loader:
        """Makes the loader of a source. `max_batch_size` is rounded up to a multiple of the number of devices."""
        devices = self.mesh.size
        return Loader(
            source,
            batch_size=-(-min(max_batch_size, len(source)) // devices) * devices,
            training=False,
            crops=self.crop,
            resize=self.preprocessing.resize,
            enlarge_to=self.preprocessing.enlarge_to,
            fast_dct=self.preprocessing.fast_dct,
            max_image_pixels=self.max_image_pixels,
        )


def build_inference(
    config: ConfigDict, *, num_classes: int, dtype: str | None = None, devices: Sequence[jax.Device] | None = None
) -> Inference:
    """Makes the network and its prediction step; compiles nothing.

    Args:
      config: has the keys of `configs/default.py`.
      num_classes: number of outputs of the network.
      dtype: dtype of the activations; None: config.model.dtype.
      devices: devices to compute on; None: all devices.

    Raises:
      UsageError: an unknown name in the config, or an image size that the network cannot process.
    """
    config = config.copy_and_resolve_references()
    config.model.update({"num_classes": num_classes, "dtype": dtype or config.model.dtype})
    check_image_sizes(config, [eval_image_size(config)])
    model, mesh, preprocess = make_model(config, num_classes), make_mesh(devices), make_preprocess(config)
    preprocessing = eval_preprocessing(config)
    return Inference(
        mesh=mesh,
        network=network_settings(config),
        preprocessing=preprocessing,
        dtype=config.model.dtype,
        predict_step=make_predict_step(model=model, preprocess=preprocess),
        preprocess=preprocess,
        network_step=make_predict_step(model=model, preprocess=lambda normalized: normalized.astype(jnp.float32)),
        shapes=variable_shapes(model, preprocessing.image_size),
        crop=create_eval_crop(preprocessing.crop, size=preprocessing.image_size, fraction=preprocessing.fraction),
        max_image_pixels=config.data.max_image_pixels,
    )
