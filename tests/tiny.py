"""A small experiment for the tests: random 12-pixel images, a ResNet-8 with four features, float32."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.configs import default


def tiny_config(changes: dict[str, Any] | None = None) -> ConfigDict:
    """Returns the config, with `changes` by dotted key."""
    config = default.get_config()
    settings = {
        "data.source": "synthetic",
        "data.synthetic.num_train": 100,
        "data.synthetic.num_eval": 21,
        "data.synthetic.num_classes": 10,
        "data.batch_size": 48,
        "data.image_size": 12,
        "data.num_threads": 1,
        "model.name": "resnet_cifar",
        "model.depth": 8,
        "model.features": 4,
        "model.dtype": "float32",
        "model.bn_group_size": 6,
        "schedule.warmup_epochs": 1.0,
        "train.epochs": 10.0,
        "log.inputs": False,
        "log.trackers": (),
    }
    config.update_from_flattened_dict(settings | (changes or {}))
    return config


def replace_in(built: Any, part: str, **changes: Any) -> Any:
    """Returns an experiment or evaluation with other fields in one part: 'data' or 'computation'."""
    return dataclasses.replace(built, **{part: dataclasses.replace(getattr(built, part), **changes)})
