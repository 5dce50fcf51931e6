"""Sources and loaders of a config."""

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from resnet_jax.data.class_names import fingerprint
from resnet_jax.data.crop_stages import CropStages
from resnet_jax.data.crops import create_eval_crop, create_train_crop
from resnet_jax.data.host_augment import create_policy
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources import Source, open_source
from resnet_jax.errors import UsageError
from resnet_jax.experiment.batch_division import at_most_at_once
from resnet_jax.experiment.milestones import Plan


def open_from(config: ConfigDict, *, training: bool, cache_dir: Path | None) -> Source:
    """Opens the training or the evaluation examples.

    Raises:
      UsageError: they are missing or not what the config says.
    """
    data, synthetic = config.data, dict(config.data.synthetic)
    picture = {key: synthetic.pop(key) for key in ("image_height", "image_width")}
    place = {key: data[key] for key in ("data_dir", "train_split", "eval_split")}
    options = {
        "synthetic": {**synthetic, "image_size": max(data.image_size, *data.progressive.sizes, 0)},
        "synthetic_jpeg": {**synthetic, **picture},
        "folder": place,
        "cifar_binary": {"data_dir": data.data_dir},
        "tfds": {**place, "name": data.name, "cache_dir": cache_dir},
        "tfrecord": {
            **place,
            "label_offset": data.label_offset,
            "num_classes": config.model.num_classes,
            "cache_dir": cache_dir,
        },
    }
    return open_source(data.source, training=training, **options.get(data.source, {}))


def identify(train_source: Source, eval_source: Source) -> dict[str, Any]:
    """What the data are, in JSON values."""
    return {
        "train": {"name": train_source.name, "examples": len(train_source)},
        "eval": {"name": eval_source.name, "examples": len(eval_source)},
        "class_list": fingerprint(train_source.class_names),
    }


def make_train_loader(config: ConfigDict, source: Source, plan: Plan) -> Loader:
    """The loader of training batches.

    Raises:
      UsageError: an unknown crop, kernel or augmentation, or sizes and their epochs that do not match.
    """
    data, group_size = config.data, config.model.bn_group_size
    groups = max(1, data.batch_size // group_size) if group_size else 1
    sizes = (*data.progressive.sizes, data.image_size)
    crops = CropStages(
        tuple(create_train_crop(size=size, **data.train_crop) for size in sizes),
        end_steps=tuple(round(epoch * plan.steps_per_epoch) for epoch in data.progressive.until_epochs),
    )
    if crops.end_steps and crops.end_steps[-1] >= plan.schedule_steps:
        raise UsageError(
            f"config.data.progressive.until_epochs={tuple(data.progressive.until_epochs)}: the run has "
            f"{plan.schedule_steps / plan.steps_per_epoch:.4g} epochs and would never come to {data.image_size} pixels"
        )
    return Loader(
        source,
        batch_size=data.batch_size,
        crops=crops,
        augment=create_policy(**data.augment),
        repeats=data.repeats,
        num_groups=groups,
        **_loader_options(config),
    )


def make_eval_loader(config: ConfigDict, source: Source, devices: int) -> Loader:
    """The loader of evaluation batches, of a size that so many devices divide.

    Raises:
      UsageError: an unknown crop or kernel.
    """
    wanted = at_most_at_once(config, devices, config.eval.batch_size or config.data.batch_size)
    wanted = min(wanted, len(source))
    size = config.eval.image_size or config.data.image_size
    return Loader(
        source,
        batch_size=-(-wanted // devices) * devices,  # rounded up: the loader pads and masks the last batch
        training=False,
        crops=create_eval_crop(size=size, **config.data.eval_crop),
        **_loader_options(config),
    )


def _loader_options(config: ConfigDict) -> dict[str, Any]:
    return {
        "resize": config.data.resize,
        "enlarge_to": config.data.enlarge_to,
        "seed": config.seed,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
