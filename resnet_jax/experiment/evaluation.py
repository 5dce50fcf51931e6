"""Builds the evaluations of --mode=eval from a config: one, or one for each data set and image size."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.config_keys import check_bounds
from resnet_jax.configs.default import KEYS
from resnet_jax.data.evaluation_sets import EvaluationSet, open_sets
from resnet_jax.data.several_labels import Labels, labels_from_file, stored_labels
from resnet_jax.data.sources import Source, example_ids
from resnet_jax.distributed.mesh import make_mesh
from resnet_jax.errors import UsageError
from resnet_jax.experiment.computation import check_image_sizes, make_eval_computation
from resnet_jax.experiment.description import describe_evaluation
from resnet_jax.experiment.inputs import eval_image_size, eval_preprocessing, make_eval_data, open_from
from resnet_jax.experiment.options import weights_options
from resnet_jax.experiment.parts import Evaluation
from resnet_jax.nested import flatten


def build_evaluation(
    config: ConfigDict, *, cache_dir: Path | None = None, devices: Sequence[jax.Device] | None = None
) -> Evaluation:
    """Checks a config and its evaluation set, and makes the parts of an evaluation; compiles nothing.

    The training set is not opened, and the number of devices does not have to divide the training batch size. The keys
    `eval.sets` and `eval.image_sizes`, which name several evaluations, are not used.

    Args:
      config: has the keys of `configs/default.py`.
      cache_dir: directory for index files of the data if the directory of the data is not writable.
      devices: devices to compute on; None: all devices.

    Raises:
      UsageError: a value is out of range, a name is unknown, or the data are missing.
    """
    check_bounds(KEYS, flatten(config.to_dict()))
    check_image_sizes(config, [eval_image_size(config)])
    source = open_from(config, training=False, cache_dir=cache_dir)
    labels = labels_from_file(config.eval.labels, source) if config.eval.labels else None
    return _build(config, source, make_mesh(devices), labels=labels)


def build_evaluations(config: ConfigDict, *, num_outputs: int, cache_dir: Path | None = None) -> list[Evaluation]:
    """Makes an evaluation for each of `eval.sets` at each of `eval.image_sizes`.

    If `eval.sets` is empty, the evaluation set of the config is evaluated; if `eval.image_sizes` is empty, the
    evaluations have the image size `eval.image_size`.

    Args:
      config: has the keys of `configs/default.py`.
      num_outputs: number of outputs of the network whose weights are evaluated; sets may have fewer classes.
      cache_dir: directory for index files of the data if the directory of the data is not writable.

    Raises:
      UsageError: a set is missing or has more classes than outputs, or an error of `build_evaluation`.
    """
    sizes = [*config.eval.image_sizes] or [eval_image_size(config)]
    twice = [size for size in sizes if sizes.count(size) > 1]
    if twice:
        raise UsageError(f"config.eval.image_sizes={tuple(sizes)} has {twice[0]} twice: name each size once")
    configs = [_at_size(config, size) for size in sizes]
    if not config.eval.sets:
        return [build_evaluation(one, cache_dir=cache_dir) for one in configs]
    check_bounds(KEYS, flatten(config.to_dict()))
    check_image_sizes(config, sizes)
    sets = open_sets(config.eval.sets, data_dir=config.data.data_dir, cache_dir=cache_dir)
    labels, mesh = _labels_of_sets(config.eval.labels, sets), make_mesh(None)
    return [
        _build_set(one, found, mesh, labels=labels.get(found.name), num_outputs=num_outputs)
        for found in sets
        for one in configs
    ]


def _at_size(config: ConfigDict, size: int) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.eval.image_size = size
    return config


def _labels_of_sets(path: str | None, sets: Sequence[EvaluationSet]) -> dict[str, Labels]:
    """Returns the labels in the file `eval.labels` for each set of ImageNet validation images, by name of the set."""
    named = [found for found in sets if "ILSVRC2012_val_" in next(example_ids(found.source, [0]))] if path else []
    if path and not named:
        raise UsageError(
            f"config.eval.labels={path}: no set of config.eval.sets has images named ILSVRC2012_val_<8 digits>: "
            "add a folder with the validation images of ImageNet, or leave out config.eval.labels"
        )
    return {found.name: labels_from_file(path, found.source) for found in named if path}


def _build_set(
    config: ConfigDict, found: EvaluationSet, mesh: Mesh, *, labels: Labels | None, num_outputs: int
) -> Evaluation:
    classes = len(found.source.class_names)
    if classes > num_outputs:
        raise UsageError(
            f"config.eval.sets: {found.name} has {classes:,} classes, more than the {num_outputs:,} outputs of the "
            "network: name sets of the same classes, or of some of them"
        )
    config = config.copy_and_resolve_references()
    config.model.num_classes = num_outputs
    built = _build(config, found.source, mesh, labels=labels)
    compared = None if classes == num_outputs else classes
    step = dataclasses.replace(built.computation.eval_step, num_compared=compared)
    description = built.description | {"data": f"{found.name}, {len(found.source):,} images, {classes:,} classes"}
    return dataclasses.replace(
        built,
        computation=dataclasses.replace(built.computation, eval_step=step),
        description=description,
        group=found.group,
        set_name=found.name,
    )


def _build(config: ConfigDict, source: Source, mesh: Mesh, *, labels: Labels | None) -> Evaluation:
    computation = make_eval_computation(config, mesh, len(source.class_names))
    step = dataclasses.replace(computation.eval_step, flip=config.eval.flip)
    return Evaluation(
        data=make_eval_data(config, source, num_devices=mesh.size),
        computation=dataclasses.replace(computation, eval_step=step),
        preprocessing=eval_preprocessing(config),
        weights=weights_options(config),
        description=describe_evaluation(config, source, computation),
        right_labels=(lambda: labels) if labels is not None else functools.partial(stored_labels, source),
    )
