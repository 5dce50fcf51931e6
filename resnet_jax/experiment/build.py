"""Builds an experiment from a config."""

import functools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from resnet_jax.config_keys import changeable_when_continued, changeable_when_evaluated, check_bounds
from resnet_jax.configs.default import KEYS, get_config
from resnet_jax.configs.mode_keys import MODE_KEYS
from resnet_jax.data.class_names import check_same
from resnet_jax.distributed.mesh import make_mesh
from resnet_jax.experiment.batch_division import count_microbatches
from resnet_jax.experiment.computation import check_image_sizes, make_computation
from resnet_jax.experiment.computed import with_computed
from resnet_jax.experiment.description import describe_experiment
from resnet_jax.experiment.geometry import check_views, describe_views, measure_views
from resnet_jax.experiment.inputs import (
    data_name,
    eval_image_size,
    make_data,
    open_from,
    train_image_sizes,
)
from resnet_jax.experiment.milestones import make_milestones, schedule_options
from resnet_jax.experiment.parts import Experiment, Reporting
from resnet_jax.experiment.shown_inputs import show_inputs, show_rows
from resnet_jax.nested import flatten
from resnet_jax.reporting.trackers import check_names
from resnet_jax.text import labelled
from resnet_jax.training.schedules import create_schedule

logger = logging.getLogger(__name__)

MAY_CHANGE = changeable_when_continued(KEYS)
EVALUATION_MAY_CHANGE = changeable_when_evaluated(KEYS)


def resolve(config: ConfigDict) -> dict[str, Any]:
    """Returns the config as nested dicts of JSON values, as `config.json` holds it."""
    return json.loads(config.to_json())


def default_settings() -> dict[str, Any]:
    """Returns the config of `configs/default.py` as nested dicts of JSON values."""
    return resolve(get_config())


def as_begun(config: ConfigDict, keys: Sequence[str]) -> ConfigDict:
    """Returns the config with the default values of `keys`, which did not exist when the run began; logs changes."""
    begun, defaults = config.copy_and_resolve_references(), flatten(get_config().to_dict())
    before = flatten(begun.to_dict())
    changed = {key: defaults[key] for key in keys if before[key] != defaults[key]}
    begun.update_from_flattened_dict(changed)
    for key, value in changed.items():
        logger.info(labelled("as begun", f"{key} is {value}, because it did not exist when this run began"))
    return begun


def build(
    config: ConfigDict,
    *,
    cache_dir: Path | None = None,
    devices: Sequence[jax.Device] | None = None,
    refuse_tiny_crops: bool = True,
) -> Experiment:
    """Checks a config and its data, and makes the parts of a training run; compiles nothing.

    Args:
      config: has the keys of `configs/default.py`.
      cache_dir: directory for index files of the data if the directory of the data is not writable.
      devices: devices to compute on, or to compile for; None: all devices.
      refuse_tiny_crops: raise an error if training crops show almost nothing of the images; False: only warn.

    Raises:
      UsageError: a value is out of range, a name is unknown, or the data are missing or do not fit the crops.
    """
    check_bounds(KEYS, flatten(config.to_dict()))
    check_names(config.log.trackers)
    mesh = make_mesh(devices)
    check_image_sizes(config, [*train_image_sizes(config), eval_image_size(config)])
    eval_source = open_from(config, training=False, cache_dir=cache_dir)
    train_source = open_from(config, training=True, cache_dir=cache_dir)
    check_same(train_source.class_names, eval_source.class_names, owner=train_source.name)
    views = measure_views(config, train_source)
    if refuse_tiny_crops:
        check_views(config, views)
    config, computed = with_computed(config, len(train_source))
    on_gpus = mesh.devices.flat[0].platform == "gpu"
    num_microbatches = count_microbatches(config, mesh.size, on_gpus=on_gpus)
    milestones = make_milestones(config, len(train_source))
    schedule = create_schedule(**schedule_options(config, milestones))
    data = make_data(config, train_source, eval_source, milestones, num_devices=mesh.size)
    computation = make_computation(config, mesh, num_microbatches, data.class_names, schedule)
    return Experiment(
        data=data,
        computation=computation,
        milestones=milestones,
        reporting=Reporting(
            description=describe_experiment(
                config, data, computation, milestones, schedule, computed=computed, views=views
            ),
            views=describe_views(views) if views else "",
            profile=_profiled_steps(config),
            keep_latest=config.checkpoint.keep_latest,
            keep_best=config.checkpoint.keep_best,
            draws_inputs=config.log.inputs,
            trackers=tuple(config.log.trackers),
            data_name=data_name(config),
            settings=_tracked_settings(config) | {"data.name": data_name(config)},
        ),
        show_inputs=functools.partial(show_inputs, config, data, num_microbatches=num_microbatches),
        show_rows=functools.partial(show_rows, config, num_microbatches=num_microbatches),
    )


def _tracked_settings(config: ConfigDict) -> dict[str, Any]:
    """Returns the config values by dotted key, without the sections of modes that do not train."""
    of_other_modes = {key.name for key in MODE_KEYS}
    return {key: value for key, value in flatten(resolve(config)).items() if key not in of_other_modes}


def _profiled_steps(config: ConfigDict) -> range:
    start = config.train.profile_at
    return range(0) if start is None else range(start, start + config.train.profile_steps)
