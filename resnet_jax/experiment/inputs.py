"""Opens the data sets that a config names, and makes their loaders."""

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from resnet_jax.data.class_names import fingerprint
from resnet_jax.data.crop_stages import CropStages
from resnet_jax.data.crops import create_eval_crop, create_train_crop
from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.data.host_augment import create_policy
from resnet_jax.data.loader import Loader
from resnet_jax.data.order import TrainOrder
from resnet_jax.data.shared_memory import check_shared_memory
from resnet_jax.data.sources import Source, open_source
from resnet_jax.errors import UsageError
from resnet_jax.experiment.batch_division import limit_eval_batch
from resnet_jax.experiment.computed import EVAL_BATCH_SIZE, with_computed
from resnet_jax.experiment.milestones import Milestones
from resnet_jax.experiment.parts import Data, EvalData, Reading
from resnet_jax.local_paths import local_path


def make_data(
    config: ConfigDict, train_source: Source, eval_source: Source, milestones: Milestones, *, num_devices: int
) -> Data:
    """Makes the loaders of a training run.

    Raises:
      UsageError: too little shared memory for the batches of worker processes, or an error of `make_train_loader`.
    """
    rows = config.data.batch_size // jax.process_count()
    check_shared_memory(3 * rows * max(train_image_sizes(config)) ** 2, config.data.num_workers)
    return Data(
        eval_loader=make_eval_loader(config, eval_source, num_devices),
        class_names=train_source.class_names,
        reading=_reading(config),
        train_loader=make_train_loader(config, train_source, milestones),
        identity=_identity(train_source, eval_source),
    )


def make_eval_data(config: ConfigDict, source: Source, *, num_devices: int) -> EvalData:
    """Makes the loader of an evaluation. Raises UsageError for an unknown crop or resize kernel."""
    return EvalData(
        eval_loader=make_eval_loader(config, source, num_devices),
        class_names=source.class_names,
        reading=_reading(config),
    )


def open_from(config: ConfigDict, *, training: bool, cache_dir: Path | None) -> Source:
    """Opens the training or the evaluation set.

    Raises:
      UsageError: the data are missing, or do not match the config.
    """
    data, synthetic = config.data, dict(config.data.synthetic)
    size = {key: synthetic.pop(key) for key in ("image_height", "image_width")}
    splits = {key: data[key] for key in ("data_dir", "train_split", "eval_split")}
    options = {
        "synthetic": {**synthetic, "image_size": max(train_image_sizes(config))},
        "synthetic_jpeg": {**synthetic, **size},
        "folder": {**splits, "eval_fraction": data.eval_fraction},
        "cifar_binary": {"data_dir": data.data_dir},
        "tfds": {**splits, "name": data.name, "cache_dir": cache_dir},
        "tfrecord": {
            **splits,
            "label_offset": data.label_offset,
            "num_classes": config.model.num_classes,
            "cache_dir": cache_dir,
        },
        "parquet": splits,
        "webdataset": {**splits, "cache_dir": cache_dir},
    }
    return open_source(data.source, training=training, **options.get(data.source, {}))


def open_splits(config: ConfigDict, *, cache_dir: Path | None = None) -> dict[str, Source]:
    """Opens the sets 'train' and 'validation'. The argument `cache_dir` and the errors raised are those of `build`."""
    return {
        "train": open_from(config, training=True, cache_dir=cache_dir),
        "validation": open_from(config, training=False, cache_dir=cache_dir),
    }


def data_name(config: ConfigDict) -> str:
    """Returns a name of the data: the TFDS name, the name of the directory of user files, or the kind of source."""
    data = config.data
    if data.source == "tfds":
        return data.name
    if data.source in ("folder", "parquet", "tfrecord", "webdataset") and data.data_dir is not None:
        return local_path(data.data_dir, name="config.data.data_dir").resolve().name or data.source
    return data.source


def train_image_sizes(config: ConfigDict) -> list[int]:
    """Returns the side of the square training images in pixels, one number for each stage of progressive resizing."""
    return [*config.data.progressive.sizes, config.data.image_size]


def eval_image_size(config: ConfigDict) -> int:
    """Returns the side of the square evaluation images in pixels."""
    return config.eval.image_size or config.data.image_size


def eval_preprocessing(config: ConfigDict) -> EvalPreprocessing:
    """Returns how evaluation crops and resizes an image file."""
    data = config.data
    return EvalPreprocessing(
        image_size=eval_image_size(config),
        crop=data.eval_crop.name,
        fraction=data.eval_crop.fraction,
        resize=data.resize,
        enlarge_to=data.enlarge_to,
        fast_dct=data.fast_dct,
    )


def make_train_loader(config: ConfigDict, source: Source, milestones: Milestones) -> Loader:
    """Makes the loader of training batches.

    Raises:
      UsageError: an unknown crop, resize kernel or augmentation, or values of `progressive.until_epochs` that do not
        fit `progressive.sizes` or the length of the run.
    """
    data = config.data
    crops = CropStages(
        tuple(create_train_crop(size=size, **data.train_crop) for size in train_image_sizes(config)),
        end_steps=tuple(round(epoch * milestones.steps_per_epoch) for epoch in data.progressive.until_epochs),
    )
    if crops.end_steps and crops.end_steps[-1] >= milestones.schedule_steps:
        raise UsageError(
            f"config.data.progressive.until_epochs={tuple(data.progressive.until_epochs)}: the run has "
            f"{milestones.schedule_steps / milestones.steps_per_epoch:.4g} epochs and would end before it trains at "
            f"{data.image_size} pixels: set smaller epochs there, or a larger config.train.epochs"
        )
    return Loader(
        source,
        batch_size=data.batch_size,
        crops=crops,
        augment=create_policy(**data.augment),
        repeats=data.repeats,
        flip=config.input.flip and data.flip_before_resize,
        num_groups=_num_groups(config),
        **_loader_options(config),
    )


def train_order(config: ConfigDict, num_images: int) -> TrainOrder:
    """Returns the order of the training examples of a run, for a training set of `num_images`; opens no data set."""
    complete, _ = with_computed(config, num_images)
    data = complete.data
    return TrainOrder(num_images, data.batch_size, config.seed, data.repeats, _num_groups(complete))


def open_training(config: ConfigDict) -> Source:
    """Opens the training set. Raises UsageError as `build` does."""
    return open_from(config, training=True, cache_dir=None)


def _num_groups(config: ConfigDict) -> int:
    """Returns the number of batch norm groups of a batch."""
    group_size = config.model.bn_group_size
    return max(1, config.data.batch_size // group_size) if group_size else 1


def make_eval_loader(config: ConfigDict, source: Source, num_devices: int) -> Loader:
    """Makes the loader of evaluation batches, whose size is a multiple of the number of devices.

    Raises:
      UsageError: an unknown crop or resize kernel.
    """
    batch_size = limit_eval_batch(config, num_devices, _eval_batch_size(config))
    batch_size = min(batch_size, len(source))
    return Loader(
        source,
        batch_size=-(-batch_size // num_devices) * num_devices,  # rounded up; the loader pads and masks the last batch
        training=False,
        crops=create_eval_crop(size=eval_image_size(config), **config.data.eval_crop),
        **_loader_options(config),
    )


def _eval_batch_size(config: ConfigDict) -> int:
    """Returns the size of evaluation batches: `eval.batch_size`, else `data.batch_size`, else a default.

    Both keys may be None in --mode=eval.
    """
    return config.eval.batch_size or config.data.batch_size or EVAL_BATCH_SIZE


def _loader_options(config: ConfigDict) -> dict[str, Any]:
    return {
        "resize": config.data.resize,
        "enlarge_to": config.data.enlarge_to,
        "fast_dct": config.data.fast_dct,
        "max_image_pixels": config.data.max_image_pixels,
        "seed": config.seed,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }


def _reading(config: ConfigDict) -> Reading:
    data = config.data
    return Reading(data.num_threads, data.num_workers, data.max_bad_examples, data.source)


def _identity(train_source: Source, eval_source: Source) -> dict[str, Any]:
    return {
        "train": {"name": train_source.name, "examples": len(train_source)},
        "eval": {"name": eval_source.name, "examples": len(eval_source)},
        "class_list": fingerprint(train_source.class_names),
    }
