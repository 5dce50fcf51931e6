"""The parts of a config that predictions and exports need: no data, no optimizer, no schedule."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.data.crops import create_eval_crop
from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources import Source
from resnet_jax.distributed import mesh as sharding
from resnet_jax.experiment.computation import check_image_sizes, make_model, make_preprocess
from resnet_jax.experiment.network import network_settings
from resnet_jax.training.predict_step import PredictStep, make_predict_step


@dataclasses.dataclass(frozen=True)
class Inference:
    """Everything that it takes to get from image files to probabilities."""

    mesh: Mesh
    network: dict[str, Any]  # what weights depend on (`network_settings`)
    preprocessing: EvalPreprocessing
    dtype: str  # of the activations
    predict_step: PredictStep
    shapes: dict[str, Any]  # of 'params' and 'batch_stats'
    make_loader: Callable[[Source, int], Loader]  # of a source, in batches of at most so many that the devices divide


def build_inference(
    config: ConfigDict, *, num_classes: int, dtype: str | None = None, devices: Sequence[jax.Device] | None = None
) -> Inference:
    """Makes the parts; nothing is compiled.

    Args:
      config: as `configs/default.py` has it.
      num_classes: outputs of the network.
      dtype: of the activations; None: that of training.
      devices: to compute on; None: all there are.

    Raises:
      UsageError: a value is out of range, or an unknown name.
    """
    config = config.copy_and_resolve_references()
    config.model.update({"num_classes": num_classes, "dtype": dtype or config.model.dtype})
    check_image_sizes(config)
    model, mesh = make_model(config, num_classes), sharding.make_mesh(devices)
    preprocessing = eval_preprocessing(config)
    images = jax.ShapeDtypeStruct((1, preprocessing.image_size, preprocessing.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    return Inference(
        mesh=mesh,
        network=network_settings(config),
        preprocessing=preprocessing,
        dtype=config.model.dtype,
        predict_step=make_predict_step(model=model, preprocess=make_preprocess(config)),
        shapes=shapes,
        make_loader=_loader_maker(preprocessing, mesh.size),
    )


def eval_preprocessing(config: ConfigDict) -> EvalPreprocessing:
    """What a config has evaluation make of an image file."""
    data = config.data
    return EvalPreprocessing(
        image_size=config.eval.image_size or data.image_size,
        crop=data.eval_crop.name,
        padding=data.eval_crop.padding,
        resize=data.resize,
        enlarge_to=data.enlarge_to,
    )


def _loader_maker(preprocessing: EvalPreprocessing, devices: int) -> Callable[[Source, int], Loader]:
    crop = create_eval_crop(preprocessing.crop, size=preprocessing.image_size, padding=preprocessing.padding)

    def make_loader(source: Source, at_most: int) -> Loader:
        batch_size = -(-min(at_most, len(source)) // devices) * devices
        return Loader(
            source,
            batch_size=batch_size,
            training=False,
            crops=crop,
            resize=preprocessing.resize,
            enlarge_to=preprocessing.enlarge_to,
        )

    return make_loader
