"""The data sets of a run, and the settings that --mode=check_data needs to check all their images."""

import os
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from resnet_jax.config_keys import check_bounds
from resnet_jax.configs.default import KEYS
from resnet_jax.data.class_names import check_same
from resnet_jax.data.sources import Source
from resnet_jax.errors import UsageError
from resnet_jax.experiment.computed import batch_size
from resnet_jax.experiment.data_warnings import data_warnings
from resnet_jax.experiment.inputs import open_from
from resnet_jax.nested import flatten

_MAX_THREADS = 16


class CheckedData(NamedTuple):
    """The data sets of a run, and the settings that a check of their images needs."""

    train: Source
    evaluation: Source
    class_lists: str | None  # how the classes of `train` and `evaluation` differ; None: they are the same
    warnings: tuple[str, ...]  # the warnings about the data that the start of a run would log
    image_size: int  # side of the training images in pixels
    mean: tuple[float, float, float]  # subtracted from the R, G, B values (0..255) of pixels
    std: tuple[float, float, float]  # by which the differences from the mean are divided
    max_image_pixels: int
    max_bad_examples: int
    num_threads: int


def open_checked_data(config: ConfigDict, *, cache_dir: Path | None = None) -> CheckedData:
    """Opens the training and the evaluation set.

    Args:
      config: has the keys of `configs/default.py`.
      cache_dir: directory for index files of the data if the directory of the data is not writable.

    Raises:
      UsageError: a value is out of range, or the data are missing or cannot be opened.
    """
    check_bounds(KEYS, flatten(config.to_dict()))
    evaluation = open_from(config, training=False, cache_dir=cache_dir)
    train = open_from(config, training=True, cache_dir=cache_dir)
    data = config.data
    return CheckedData(
        train=train,
        evaluation=evaluation,
        class_lists=_difference(train, evaluation),
        warnings=tuple(data_warnings(data.batch_size or batch_size(len(train)), train, evaluation)),
        image_size=data.image_size,
        mean=tuple(config.input.mean),
        std=tuple(config.input.std),
        max_image_pixels=data.max_image_pixels,
        max_bad_examples=data.max_bad_examples,
        num_threads=data.num_threads or min(os.cpu_count() or 1, _MAX_THREADS),
    )


def check_json(config: ConfigDict) -> str | None:
    """Reads from the config the path of the JSON file of --mode=check_data; None: it is in the work directory."""
    return config.check_data.json


def _difference(train: Source, evaluation: Source) -> str | None:
    try:
        check_same(train.class_names, evaluation.class_names, owner=train.name, what=evaluation.name)
    except UsageError as error:
        return str(error)
    return None
